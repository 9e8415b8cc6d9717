// Written later.
