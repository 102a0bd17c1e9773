"""lstmgen trains recurrent language models on your own text, and generates and scores text with them."""

__version__ = "0.1.0"
