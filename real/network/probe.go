package network

func probe() error { return nil }
