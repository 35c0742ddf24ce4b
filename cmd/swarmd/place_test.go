package main

import (
	"testing"

	"github.com/swarmd/swarmd/engine"
)

// What containers' traffic goes by moves with the address that others reach a node
// at, unless it was another from the start, or is said to be.
func TestMovedIdentity(t *testing.T) {
	for _, c := range []struct {
		name           string
		had            engine.Identity
		addr, dataPath string
		want           engine.Identity
	}{
		{"nothing said", engine.Identity{Addr: "10.0.0.1:2377"}, "10.0.0.2:2377", "", engine.Identity{Addr: "10.0.0.2:2377"}},
		{"the same, said", engine.Identity{Addr: "10.0.0.1:2377", DataPath: "10.0.0.1"}, "10.0.0.2:2377", "", engine.Identity{Addr: "10.0.0.2:2377", DataPath: "10.0.0.2"}},
		{"another", engine.Identity{Addr: "10.0.0.1:2377", DataPath: "10.9.0.1"}, "10.0.0.2:2377", "", engine.Identity{Addr: "10.0.0.2:2377", DataPath: "10.9.0.1"}},
		{"another by now", engine.Identity{Addr: "10.0.0.1:2377", DataPath: "10.9.0.1"}, "10.0.0.1:2377", "10.9.0.2", engine.Identity{Addr: "10.0.0.1:2377", DataPath: "10.9.0.2"}},
		{"in no swarm", engine.Identity{}, "10.0.0.1:2377", "", engine.Identity{Addr: "10.0.0.1:2377"}},
	} {
		if got := moved(c.had, c.addr, c.dataPath); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
