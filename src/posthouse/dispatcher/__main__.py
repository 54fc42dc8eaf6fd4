"""`python -m posthouse.dispatcher --instance DIR`: the Dispatcher of an instance."""

from posthouse.dispatcher.family import leave
from posthouse.dispatcher.process import main

if __name__ == "__main__":
    leave(main())
