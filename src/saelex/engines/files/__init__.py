"""Files for other engines, one format a module, for those who load them by hand."""
