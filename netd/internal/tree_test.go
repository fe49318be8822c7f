package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is one Go file, whatever its build tags.
type source struct {
	dir, file string // from the top of the tree
	fset      *token.FileSet
	ast       *ast.File
}

// test tells a file of tests.
func (s source) test() bool { return strings.HasSuffix(s.file, "_test.go") }

// tree reads all Go files, in order.
func tree(t *testing.T, top string) []source {
	t.Helper()
	var sources []source
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != top && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"bin", "build", "testdata"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(file) != ".go":
			return nil
		}
		rel, err := filepath.Rel(top, file)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		sources = append(sources, source{path.Dir(filepath.ToSlash(rel)), filepath.ToSlash(rel), fset, f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// parsed is a source made of text, for the tests of the rules.
func parsed(t *testing.T, file, text string) source {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return source{path.Dir(file), file, fset, f}
}
