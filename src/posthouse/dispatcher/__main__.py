"""`python -m posthouse.dispatcher --instance DIR`: the Dispatcher of an instance."""

import sys

from posthouse.dispatcher.process import main

if __name__ == "__main__":
    sys.exit(main())
