package engine_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// TestPurity reads every non-test file below engine/ and fails on what would
// make two runs of the same events differ. Imports are depguard's business, and
// [TestImports]'s; this finds what an import list cannot show.
func TestPurity(t *testing.T) {
	for _, fault := range impurities(load(t, "./...")) {
		t.Error(fault)
	}
}

// TestPurityFindsPlanted proves that TestPurity can fail: every line of
// testdata/impure that says "want" must be found, and nothing else.
func TestPurityFindsPlanted(t *testing.T) {
	pkgs := load(t, "./testdata/impure")
	want := map[string]string{}
	for _, pkg := range pkgs {
		for _, file := range pkg.Syntax {
			for _, group := range file.Comments {
				for _, c := range group.List {
					if text, ok := strings.CutPrefix(c.Text, "// want "); ok {
						want[line(pkg.Fset, c.Pos())] = text
					}
				}
			}
		}
	}
	if len(want) == 0 {
		t.Fatal("nothing is planted in testdata/impure")
	}
	for _, fault := range impurities(pkgs) {
		at, text, _ := strings.Cut(fault, ": ")
		at = at[:strings.LastIndex(at, ":")] // without the column
		if w, ok := want[at]; !ok {
			t.Errorf("found what is not planted: %s", fault)
		} else if !strings.Contains(text, w) {
			t.Errorf("%s: found %q, want %q", at, text, w)
		}
		delete(want, at)
	}
	for at, w := range want {
		t.Errorf("%s: planted, not found: %s", at, w)
	}
}

func line(fset *token.FileSet, p token.Pos) string {
	at := fset.Position(p)
	return fmt.Sprintf("%s:%d", at.Filename, at.Line)
}

func load(t *testing.T, pattern string) []*packages.Package {
	t.Helper()
	pkgs, err := packages.Load(&packages.Config{Mode: packages.LoadSyntax}, pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkgs {
		for _, e := range p.Errors {
			t.Fatal(e)
		}
	}
	return pkgs
}

// impurities lists what is impure in pkgs, as file:line:column: what.
func impurities(pkgs []*packages.Package) []string {
	var found []string
	for _, pkg := range pkgs {
		if strings.HasSuffix(pkg.PkgPath, "/enginetest") { // tests' own tools
			continue
		}
		for _, file := range pkg.Syntax {
			p := purity{pkg: pkg, sorted: map[ast.Expr]bool{}}
			p.variables(file)
			ast.Inspect(file, p.visit)
			found = append(found, p.found...)
		}
	}
	return found
}

// unordered are the functions that may range over a map, each with the reason
// for which nobody can see the order.
func unordered() map[string]string {
	return map[string]string{
		"state.freeze":     "Snapshot.WriteTo sorts, away from the store: a snapshot must not stop the world",
		"impure.unordered": "planted",
	}
}

// A purity looks through one file.
type purity struct {
	pkg      *packages.Package
	function string            // that is being looked through, as package.name
	sorted   map[ast.Expr]bool // arguments of slices.Sorted
	found    []string
}

func (p *purity) fault(at token.Pos, format string, args ...any) {
	p.found = append(p.found, fmt.Sprintf("%s: ", p.pkg.Fset.Position(at))+fmt.Sprintf(format, args...))
}

// variables finds package variables that are not sentinel errors.
func (p *purity) variables(file *ast.File) {
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			for _, name := range s.(*ast.ValueSpec).Names {
				if name.Name != "_" && p.pkg.TypesInfo.Defs[name].Type().String() != "error" {
					p.fault(name.Pos(), "package variable %s: state belongs in Node", name.Name)
				}
			}
		}
	}
}

func (p *purity) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.FuncDecl:
		p.function = p.pkg.Name + "." + n.Name.Name
	case *ast.GoStmt:
		p.fault(n.Pos(), "go statement")
	case *ast.SelectStmt:
		p.fault(n.Pos(), "select")
	case *ast.SendStmt:
		p.fault(n.Pos(), "channel send")
	case *ast.ChanType:
		p.fault(n.Pos(), "channel type")
	case *ast.RangeStmt:
		if tv, ok := p.pkg.TypesInfo.Types[n.X]; ok {
			if _, isMap := tv.Type.Underlying().(*types.Map); isMap && unordered()[p.function] == "" {
				p.fault(n.Pos(), "range over a map: iterate sorted keys")
			}
		}
	case *ast.CallExpr:
		p.call(n)
	case *ast.SelectorExpr:
		if fn, ok := p.pkg.TypesInfo.Uses[n.Sel].(*types.Func); ok && impure(fn) {
			p.fault(n.Pos(), "%s is impure", fn.FullName())
		}
	}
	return true
}

// call finds the functions of package maps whose order is the map's.
func (p *purity) call(n *ast.CallExpr) {
	name := callee(p.pkg.TypesInfo, n)
	switch {
	case name == "slices.Sorted", name == "slices.SortedFunc", name == "slices.SortedStableFunc":
		for _, arg := range n.Args {
			p.sorted[arg] = true
		}
	case !strings.HasPrefix(name, "maps.") || p.sorted[n]:
	case name == "maps.Clone", name == "maps.Copy", name == "maps.Equal", name == "maps.EqualFunc", name == "maps.DeleteFunc":
	default:
		p.fault(n.Pos(), "%s outside slices.Sorted: map order", name)
	}
}

// callee names the package function that call calls, as in "slices.Sorted".
func callee(info *types.Info, call *ast.CallExpr) string {
	fun := call.Fun
	if x, ok := fun.(*ast.IndexExpr); ok {
		fun = x.X
	}
	sel, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	fn, ok := info.Uses[sel.Sel].(*types.Func)
	if !ok || fn.Pkg() == nil || fn.Signature().Recv() != nil {
		return ""
	}
	return fn.Pkg().Path() + "." + fn.Name()
}

// impure reports whether a function sees the world: the clock, or a source of
// randomness that nobody seeded.
func impure(fn *types.Func) bool {
	if fn.Pkg() == nil {
		return false
	}
	function := fn.Signature().Recv() == nil // not a method
	switch fn.Pkg().Path() {
	case "time":
		switch fn.Name() {
		case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "LoadLocation":
			return function
		}
		return fn.Name() == "Local" && !function
	case "math/rand/v2": // package functions draw from the runtime; methods on a seeded source do not
		return function && !strings.HasPrefix(fn.Name(), "New")
	case "math/rand", "crypto/rand", "hash/maphash", "os", "log", "log/slog", "net", "net/http", "sync", "sync/atomic":
		return true
	case "runtime":
		return true
	}
	return false
}
