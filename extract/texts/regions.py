"""The regions of a prompt and its answer, for instruments that know neither templates nor prompt sets."""

REGIONS = ("system", "user", "assistant", "system_structural", "user_structural", "assistant_structural", "header")
"""Names of the region codes 0..6, in the order of the columns of table `attention`."""
