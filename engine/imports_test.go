package engine_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/swarmd/swarmd"

// A rule says what the packages below a folder must not import; the first rule
// whose folder fits and whose import fits decides.
type rule struct {
	folder, imports string // path prefixes below the module, or module paths
	allowed         bool
	why             string
}

// importRules is who may import whom. The linter enforces the same; this test
// does so where no linter runs.
func importRules() []rule {
	leaf := []rule{{"engine/enginetest", "engine", true, ""}}
	for _, name := range []string{"state", "wire", "invariant", "entropy", "mutant"} {
		leaf = append(leaf, rule{"engine/", "engine/" + name, true, ""})
	}
	return append(leaf, []rule{
		{"engine/", "engine", false, "leaves return values, and do not know each other; only the root makes effects"},
		{"engine", "engine/", true, ""},
		{"engine", "github.com/moby/moby/api/types", true, ""},
		{"engine", "sim", false, "the engine is pure"},
		{"engine", "real", false, "the engine is pure"},
		{"engine", "", false, "the engine uses pure standard packages and Docker's types"},
		{"sim/guest", "real/consensus", true, ""},
		{"sim/guest", "real", true, ""},
		{"sim", "real", false, "the simulator stands on the engine alone"},
		{"real/", "real", false, "subpackages of real do not know each other nor the driver; cmd puts them together"},
		{"real", "sim", false, "production code does not know the simulator"},
		{"real/consensus", "github.com/hashicorp/raft", true, ""},
		{"real/runtime", "github.com/containerd/containerd", true, ""},
		{"real/network", "github.com/vishvananda/netlink", true, ""},
		{"real/network", "github.com/google/nftables", true, ""},
		{"real/network", "github.com/miekg/dns", true, ""},
		{"cmd", "github.com/spf13/cobra", true, ""},
		{"sim/sandbox", "github.com/tetratelabs/wazero", true, ""},
		{"", "github.com/tetratelabs/wazero", false, "belongs in sim/sandbox"},
		{"", "github.com/hashicorp/raft", false, "belongs in real/consensus"},
		{"", "github.com/containerd/containerd", false, "belongs in real/runtime"},
		{"", "github.com/vishvananda/netlink", false, "belongs in real/network"},
		{"", "github.com/google/nftables", false, "belongs in real/network"},
		{"", "github.com/miekg/dns", false, "belongs in real/network"},
		{"", "github.com/spf13/cobra", false, "belongs in cmd"},
		{"", "", true, ""},
	}...)
}

// TestImports reads the import lists of the whole module.
func TestImports(t *testing.T) {
	pkgs, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedImports}, module+"/...")
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range pkgs {
		for path := range pkg.Imports {
			if why := forbidden(pkg.PkgPath, path); why != "" {
				t.Errorf("%s imports %s: %s", pkg.PkgPath, path, why)
			}
		}
	}
}

// TestMap has every package on the map of CONTRIBUTING.md, once.
func TestMap(t *testing.T) {
	text, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	pkgs, err := packages.Load(&packages.Config{Mode: packages.NeedName}, module+"/...")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if where, _, row := strings.Cut(strings.TrimPrefix(line, "| "), " | "); row && strings.HasPrefix(line, "| `") {
			for name := range strings.FieldsSeq(where) {
				named[strings.Trim(name, "`")]++
			}
		}
	}
	for _, pkg := range pkgs {
		if name := strings.TrimPrefix(pkg.PkgPath, module+"/"); named[name] != 1 {
			t.Errorf("the map in CONTRIBUTING.md has %s %d times", name, named[name])
		}
	}
}

// TestImportRulesFindPlanted proves that the rules can fail.
func TestImportRulesFindPlanted(t *testing.T) {
	for _, c := range []struct {
		from, imports string
		forbidden     bool
	}{
		{"engine/scheduler", "engine/orchestrator", true},
		{"engine/scheduler", "engine", true},
		{"engine/scheduler", "engine/state", false},
		{"engine/state", "engine/entropy", false},
		{"engine", "engine/scheduler", false},
		{"engine/control", "github.com/distribution/reference", true},
		{"engine/control", "github.com/moby/moby/api/types/swarm", false},
		{"engine", "real/disk", true},
		{"sim", "real", true},
		{"sim/guest", "real", false},
		{"real/api", "real/runtime", true},
		{"real/api", "real", true},
		{"real/api", "engine/control", false},
		{"real", "engine", false},
		{"real/api", "github.com/hashicorp/raft", true},
		{"real/consensus", "github.com/hashicorp/raft", false},
		{"real", "sim", true},
		{"cmd/swarmd", "real/api", false},
	} {
		expand := func(p string) string {
			if strings.Contains(p, ".") {
				return p
			}
			return module + "/" + p
		}
		if got := forbidden(expand(c.from), expand(c.imports)) != ""; got != c.forbidden {
			t.Errorf("%s imports %s: forbidden is %v, want %v", c.from, c.imports, got, c.forbidden)
		}
	}
}

// forbidden says why from must not import path, or "".
func forbidden(from, path string) string {
	from = strings.TrimPrefix(strings.TrimPrefix(from, module), "/")
	ours := strings.HasPrefix(path, module)
	if !ours && !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
		return "" // the standard library: see TestPurity and the linter
	}
	path = strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	if top := strings.SplitN(from, "/", 3); ours && len(top) > 1 && within(path, top[0]+"/"+top[1]) {
		return "" // a package and what is below it are one room
	}
	for _, r := range importRules() {
		if within(from, r.folder) && within(path, r.imports) {
			if r.allowed {
				return ""
			}
			return r.why
		}
	}
	return ""
}

// within reports whether path is the folder or below it; a folder that ends in
// a slash is only what is below it.
func within(path, folder string) bool {
	below := strings.HasSuffix(folder, "/")
	folder = strings.TrimSuffix(folder, "/")
	return folder == "" || strings.HasPrefix(path, folder+"/") || path == folder && !below
}
