"""Built-in attacks: one method a file, the file is named by the method's key."""
