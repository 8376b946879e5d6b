"""Study files: what one holds, its variants, and the sentence that says where in it something is wrong."""
