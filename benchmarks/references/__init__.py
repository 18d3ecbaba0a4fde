"""Reference posteriors of networks, by two exact samplers each."""
