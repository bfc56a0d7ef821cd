"""The link: the one process with a network. It knows a broker, no face, no key of the gallery and no pin."""
