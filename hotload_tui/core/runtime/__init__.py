"""Load artifacts as generations, make them live, and retire them."""
