"""Published sentences made checkable: their files, how one is judged, and the verdicts kept in the lake."""
