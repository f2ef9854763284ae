"""The command line of lthprune; every command calls one library function and prints."""
