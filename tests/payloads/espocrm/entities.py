"""What EspoCRM's record types are made of, as far as the plugin meets them.

The attributes are those of the recorded answers (EspoCRM 9.2.7); fields and links are an extract
of ``entityDefs`` in https://github.com/espocrm/espocrm (version 10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STAGES = {
    "Prospecting": 10, "Qualification": 20, "Proposal": 50, "Negotiation": 80,
    "Closed Won": 100, "Closed Lost": 0,
}  # fmt: skip
_STAMPS = "createdAt modifiedAt createdById createdByName modifiedById modifiedByName"
_FOLLOWED = "isFollowed followersIds followersNames"
_TEAMS = "teamsIds teamsNames"

LISTED: Mapping[str, tuple[str, ...]] = {
    name: tuple(f"{attributes} {_STAMPS}".split())
    for name, attributes in {
        "Contact": """id name deleted salutationName firstName lastName title description
            emailAddress phoneNumber doNotCall addressStreet addressCity addressState
            addressCountry addressPostalCode accountIsInactive accountType hasPortalUser middleName
            emailAddressIsOptedOut emailAddressIsInvalid phoneNumberIsOptedOut
            phoneNumberIsInvalid streamUpdatedAt accountId accountName campaignId campaignName
            assignedUserId assignedUserName portalUserId portalUserName originalLeadId
            originalLeadName""",
        "Opportunity": """id name deleted amount amountWeightedConverted stage lastStage probability
            leadSource closeDate description amountCurrency streamUpdatedAt amountConverted
            accountId accountName contactId contactName campaignId campaignName originalLeadId
            originalLeadName assignedUserId assignedUserName versionNumber""",
        "Task": """id name deleted status priority dateStart dateEnd dateStartDate dateEndDate
            dateCompleted description streamUpdatedAt parentId parentType parentName accountId
            accountName contactId contactName assignedUserId assignedUserName versionNumber""",
        "Account": """id name deleted website emailAddress phoneNumber type industry
            streamUpdatedAt campaignId campaignName assignedUserId assignedUserName
            versionNumber""",
        "User": """id name deleted userName type authMethod salutationName firstName lastName
            isActive title emailAddress phoneNumber avatarColor gender auth2FA lastAccess middleName
            emailAddressIsOptedOut emailAddressIsInvalid phoneNumberIsOptedOut
            phoneNumberIsInvalid defaultTeamId defaultTeamName contactId contactName avatarId
            avatarName dashboardTemplateId dashboardTemplateName workingTimeCalendarId
            workingTimeCalendarName layoutSetId layoutSetName""",
        "Webhook": """id deleted event url isActive entityType type field secretKey skipOwn""",
        "Role": """id name deleted assignmentPermission userPermission messagePermission
            portalPermission groupEmailAccountPermission exportPermission massUpdatePermission
            dataPrivacyPermission followerManagementPermission auditPermission mentionPermission
            userCalendarPermission data fieldData""",
    }.items()
}
"""Attributes that a list tells of each record; roles and users tell less of who changed them."""

READ: Mapping[str, tuple[str, ...]] = {
    name: tuple(attributes.split())
    for name, attributes in {
        "Contact": f"""emailAddressData phoneNumberData accountsIds accountsNames accountsColumns
            {_TEAMS} {_FOLLOWED}""",
        "Opportunity": f"contactsIds contactsNames contactsColumns {_TEAMS} {_FOLLOWED}",
        "Task": f"""isOverdue reminders attachmentsIds attachmentsNames attachmentsTypes
            {_TEAMS} {_FOLLOWED}""",
        "Account": f"emailAddressData phoneNumberData {_TEAMS} {_FOLLOWED} isStarred",
        "User": f"""emailAddressData phoneNumberData teamsColumns rolesIds rolesNames portalsIds
            portalsNames portalRolesIds portalRolesNames accountsIds accountsNames {_TEAMS}""",
        "Webhook": "",
        "Role": "",
    }.items()
}
"""What reading one record tells beyond that."""

ALWAYS_SELECTED: Mapping[str, tuple[str, ...]] = {
    "Contact": ("id", "accountIsInactive", "createdAt", "accountId", "accountName",
                "createdById", "assignedUserId"),
}  # fmt: skip
"""What a list tells whatever was selected; of other types it is not on record."""

TOLD_ON_CREATION: Mapping[str, Mapping[str, Any]] = {
    "Contact": {
        "accountIsInactive": False, "targetListIsOptedOut": False,
        "emailAddressIsOptedOut": False, "emailAddressIsInvalid": False,
        "phoneNumberIsOptedOut": False, "phoneNumberIsInvalid": False,
    },
    "Account": {
        "contactIsInactive": False, "targetListIsOptedOut": False,
        "emailAddressIsOptedOut": False, "emailAddressIsInvalid": False,
        "phoneNumberIsOptedOut": False, "phoneNumberIsInvalid": False,
    },
}  # fmt: skip
"""Attributes that the answer to a creation, and its webhook, tell otherwise than later reading."""

NAMED_ON_CREATION: Mapping[str, str] = {
    "Contact": "accountName campaignName modifiedByName assignedUserName",
    "Opportunity": "accountName contactName campaignName modifiedByName assignedUserName",
    "Task": "accountId accountName contactId contactName dateCompleted modifiedByName "
    "assignedUserName",
    "Account": "campaignName modifiedByName assignedUserName",
    "Webhook": "field modifiedByName",
    "User": "",
    "Role": "",
}
"""Attributes that the answer to a creation tells even where they are empty."""

UNSENT = frozenset(
    f"modifiedAt versionNumber streamUpdatedAt contactsColumns accountsColumns {_FOLLOWED}".split()
)
"""Attributes that no webhook of a change tells (``Core/Webhook/Manager.php``)."""

PERSON: Mapping[str, Mapping[str, Any]] = {
    "name": {"type": "personName"},
    "firstName": {"type": "varchar", "maxLength": 100},
    "lastName": {"type": "varchar", "maxLength": 100, "required": True},
    "emailAddress": {"type": "email"},
    "phoneNumber": {"type": "phone"},
    "title": {"type": "varchar", "maxLength": 100},
}
_TIMES: Mapping[str, Mapping[str, Any]] = {
    "createdAt": {"type": "datetime", "readOnly": True},
    "modifiedAt": {"type": "datetime", "readOnly": True},
    "createdBy": {"type": "link", "readOnly": True},
    "modifiedBy": {"type": "link", "readOnly": True},
    "assignedUser": {"type": "link"},
    "description": {"type": "text"},
}
FIELDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "Contact": {
        **PERSON,
        "salutationName": {"type": "enum", "options": ["", "Mr.", "Ms.", "Mrs.", "Dr."]},
        "doNotCall": {"type": "bool"},
        "addressStreet": {"type": "text", "maxLength": 255},
        "addressCity": {"type": "varchar", "maxLength": 100},
        "addressCountry": {"type": "varchar", "maxLength": 100},
        "addressPostalCode": {"type": "varchar", "maxLength": 40},
        "account": {"type": "link"},
        **_TIMES,
    },
    "Opportunity": {
        "name": {"type": "varchar", "required": True, "pattern": "[^<>=]+"},
        "amount": {"type": "currency", "required": True, "min": 0},
        "stage": {
            "type": "enum", "options": list(STAGES), "default": "Prospecting",
            "probabilityMap": STAGES,
        },
        "lastStage": {"type": "enum"},
        "probability": {"type": "int", "min": 0, "max": 100},
        "closeDate": {"type": "date", "required": True},
        "account": {"type": "link"},
        "contacts": {"type": "linkMultiple", "primaryLink": "contact"},
        "contact": {"type": "link"},
        **_TIMES,
    },
    "Task": {
        "name": {"type": "varchar", "required": True, "pattern": "[^<>=]+"},
        "status": {
            "type": "enum", "default": "Not Started",
            "options": ["Not Started", "Started", "Completed", "Canceled", "Deferred"],
            "notActualOptions": ["Completed", "Canceled"],
        },
        "priority": {
            "type": "enum", "options": ["Low", "Normal", "High", "Urgent"], "default": "Normal",
        },
        "dateEnd": {"type": "datetimeOptional"},
        "dateEndDate": {"type": "date"},
        "dateCompleted": {"type": "datetime", "readOnly": True},
        "parent": {
            "type": "linkParent",
            "entityList": ["Account", "Contact", "Lead", "Opportunity", "Case"],
        },
        "account": {"type": "link", "readOnly": True},
        "contact": {"type": "link", "readOnly": True},
        **_TIMES,
        "assignedUser": {"type": "link", "required": True},
    },
    "Account": {
        "name": {"type": "varchar", "required": True},
        "emailAddress": {"type": "email"},
        "phoneNumber": {"type": "phone"},
        **_TIMES,
    },
    "User": {
        **PERSON,
        "userName": {"type": "varchar", "required": True},
        "type": {"type": "enum", "options": ["regular", "admin", "portal", "api"]},
        "authMethod": {"type": "enum", "options": ["", "ApiKey", "Hmac"]},
        "isActive": {"type": "bool", "default": True},
        "roles": {"type": "linkMultiple"},
        "createdAt": {"type": "datetime", "readOnly": True},
        "modifiedAt": {"type": "datetime", "readOnly": True},
        "createdBy": {"type": "link", "readOnly": True},
    },
    "Webhook": {
        "event": {"type": "varchar", "required": True},
        "url": {"type": "varchar", "required": True},
        "isActive": {"type": "bool", "default": True},
        "skipOwn": {"type": "bool"},
        "secretKey": {"type": "varchar", "readOnly": True},
        **_TIMES,
    },
    "Role": {
        "name": {"type": "varchar", "required": True},
        "assignmentPermission": {"type": "enum", "options": ["not-set", "all", "team", "no"]},
        "userPermission": {"type": "enum", "options": ["not-set", "all", "team", "no"]},
        "data": {"type": "jsonObject"},
    },
}  # fmt: skip
LINKS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "Contact": {
        "account": {"type": "belongsTo", "entity": "Account"},
        "assignedUser": {"type": "belongsTo", "entity": "User"},
        "createdBy": {"type": "belongsTo", "entity": "User"},
        "modifiedBy": {"type": "belongsTo", "entity": "User"},
        "opportunities": {"type": "hasMany", "entity": "Opportunity", "foreign": "contacts"},
        "tasks": {"type": "hasChildren", "entity": "Task", "foreign": "parent"},
    },
    "Opportunity": {
        "account": {"type": "belongsTo", "entity": "Account"},
        "assignedUser": {"type": "belongsTo", "entity": "User"},
        "createdBy": {"type": "belongsTo", "entity": "User"},
        "modifiedBy": {"type": "belongsTo", "entity": "User"},
        "contact": {"type": "belongsTo", "entity": "Contact"},
        "contacts": {"type": "hasMany", "entity": "Contact", "foreign": "opportunities"},
        "tasks": {"type": "hasChildren", "entity": "Task", "foreign": "parent"},
    },
    "Task": {
        "assignedUser": {"type": "belongsTo", "entity": "User"},
        "createdBy": {"type": "belongsTo", "entity": "User"},
        "modifiedBy": {"type": "belongsTo", "entity": "User"},
        "account": {"type": "belongsTo", "entity": "Account"},
        "contact": {"type": "belongsTo", "entity": "Contact"},
        "parent": {"type": "belongsToParent", "foreign": "tasks"},
    },
    "Account": {
        "assignedUser": {"type": "belongsTo", "entity": "User"},
        "createdBy": {"type": "belongsTo", "entity": "User"},
        "modifiedBy": {"type": "belongsTo", "entity": "User"},
        "contacts": {"type": "hasMany", "entity": "Contact", "foreign": "account"},
    },
    "User": {
        "createdBy": {"type": "belongsTo", "entity": "User"},
        "roles": {"type": "hasMany", "entity": "Role", "foreign": "users"},
    },
    "Webhook": {
        "createdBy": {"type": "belongsTo", "entity": "User"},
        "modifiedBy": {"type": "belongsTo", "entity": "User"},
    },
    "Role": {},
}
CUSTOMIZABLE = frozenset({"Contact", "Opportunity", "Task", "Account"})
