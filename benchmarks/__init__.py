"""How fast esmkit is and how much memory it takes, beside what people use otherwise."""
