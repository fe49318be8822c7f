package internal_test

import (
	"fmt"
	"go/ast"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

const (
	mostFields  = 20 // of a struct of behaviour
	mostLines   = 60 // of a function outside tests, whose tables and scenarios are read in one go
	mostMethods = 4  // of an interface; one that it embeds is one
)

// large returns what is too large in a package's files, by name, with its size.
func large(sources []source) map[string]string {
	acts := map[string]bool{} // types with a method that may change them
	for _, s := range sources {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				if p, ok := f.Recv.List[0].Type.(*ast.StarExpr); ok {
					acts[typeName(p.X)] = true
				}
			}
		}
	}
	found := map[string]string{}
	for _, s := range sources {
		note := func(name string, size, most int, of string) {
			if size > most {
				found[s.dir+"."+name] = fmt.Sprintf("%d %s, of at most %d", size, of, most)
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if !s.test() {
					note(n.Name.Name, s.fset.Position(n.End()).Line-s.fset.Position(n.Pos()).Line+1, mostLines, "lines")
				}
			case *ast.TypeSpec:
				switch what := n.Type.(type) {
				case *ast.StructType:
					if acts[n.Name.Name] || holds(what) {
						note(n.Name.Name, what.Fields.NumFields(), mostFields, "fields")
					}
				case *ast.InterfaceType:
					note(n.Name.Name, what.Methods.NumFields(), mostMethods, "methods")
				}
			}
			return true
		})
	}
	return found
}

// typeName is the name of a receiver's type, generic or not.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.IndexExpr:
		return typeName(e.X)
	}
	return ""
}

// holds tells a struct that is more than data: it has channels, locks or functions.
func holds(s *ast.StructType) bool {
	for _, f := range s.Fields.List {
		switch what := f.Type.(type) {
		case *ast.ChanType, *ast.FuncType:
			return true
		case *ast.SelectorExpr:
			switch selector(what) {
			case "sync.Mutex", "sync.RWMutex", "sync.WaitGroup", "wake.Signal":
				return true
			}
		}
	}
	return false
}

// Behaviour with many fields is several things that nobody has told apart. Plain data
// (configuration, facts, the API's words) may have as many as there are.
func TestSizes(t *testing.T) {
	packages := map[string][]source{}
	for _, s := range tree(t, "../..") {
		packages[s.dir] = append(packages[s.dir], s)
	}
	for _, sources := range packages {
		for name, size := range large(sources) {
			t.Errorf("%s has %s", name, size)
		}
	}
}

// The rules detect what they are for.
func TestLarge(t *testing.T) {
	fields := func(n int) (text string) {
		for i := range n {
			text += fmt.Sprintf("\tf%d int\n", i)
		}
		return text
	}
	methods := "A(); B(); C(); D()"
	tests := []struct {
		file, text string
		want       map[string]string
	}{
		{"netd/x/x.go", "type T struct {\n" + fields(21) + "}", map[string]string{}},
		{"netd/x/x.go", "type T struct {\n" + fields(21) + "}\nfunc (t T) f() {}", map[string]string{}},
		{"netd/x/x.go", "type T struct {\n" + fields(21) + "}\nfunc (t *T) f() {}", map[string]string{"netd/x.T": "21 fields, of at most 20"}},
		{"netd/x/x.go", "type T struct {\n" + fields(20) + "c chan int\n}", map[string]string{"netd/x.T": "21 fields, of at most 20"}},
		{"netd/x/x.go", "type T struct {\n" + fields(20) + "mu sync.Mutex\n}", map[string]string{"netd/x.T": "21 fields, of at most 20"}},
		{"netd/x/x.go", "type T struct {\n" + fields(20) + "}\nfunc (t *T) f() {}", map[string]string{}},
		{"netd/x/x.go", "type I interface { " + methods + " }", map[string]string{}},
		{"netd/x/x.go", "type I interface { " + methods + "; E() }", map[string]string{"netd/x.I": "5 methods, of at most 4"}},
		{"netd/x/x.go", "func f() {\n_ = struct{\n" + fields(57) + "}{}\n}", map[string]string{"netd/x.f": "61 lines, of at most 60"}},
		{"netd/x/x_test.go", "func f() {\n_ = struct{\n" + fields(57) + "}{}\n}", map[string]string{}},
	}
	for _, tt := range tests {
		got := large([]source{parsed(t, tt.file, "package x\n"+tt.text)})
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", tt.file, tt.text, diff)
		}
	}
}
