"""Which tier of the general model a query needs: the cheap one, or the strong one."""
