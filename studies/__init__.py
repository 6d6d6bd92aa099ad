"""What re-examines the papers, and the choices behind the default: imports the product, never the other way."""
