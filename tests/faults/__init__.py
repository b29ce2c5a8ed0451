"""The fault harness: real processes, a CRM in bad weather, and what must be true afterwards.

    python -m tests.faults --seeds 200
    python -m tests.faults --seed 17 --database postgresql

One run has a web server, one to three workers, and HubSpot's stand-in behind bad weather. People
work in the CRM while processes are killed, frozen and started twice, answers are cut, the disk is
full, the database locked or restarted, and clocks jump. Then all faults end, everything settles,
and ``invariants.py`` looks for what was lost, done twice or left behind.

All that a run does is derived from its seed (``plan.py``): the deeds, the faults, their instants.
Real processes cannot be scheduled to the microsecond, so a seed reproduces its plan exactly and
its interleaving nearly: a fault that needs a narrow moment may take several runs of its seed.
"""
