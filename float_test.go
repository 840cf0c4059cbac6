package repo

import (
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"slices"
	"testing"
)

// tables are the functions that make tables once, when the program starts or a
// codec is first used. They may reckon in floating point; nothing else of the
// voice path may, since the processors have no unit for it and a multiplication
// costs a hundred instructions.
var tables = []string{"echo.init", "phasor.Hann", "phasor.Carrier", "sim.newHybrid"}

// TestNoFloatInTheVoicePath looks at the type of every expression in
// internal/media and hal/sim that is not a constant. What is for tests carries no voice.
func TestNoFloatInTheVoicePath(t *testing.T) {
	fset := token.NewFileSet()
	from := importer.ForCompiler(fset, "source", nil)
	var used []string
	for _, root := range []string{"internal/media", "hal/sim"} {
		fs.WalkDir(os.DirFS("."), root, func(dir string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() || d.Name() == "soundtest" {
				return err
			}
			pkg, err := build.ImportDir(dir, 0)
			if _, empty := err.(*build.NoGoError); empty {
				return nil
			}
			if err != nil {
				t.Fatal(err)
			}
			var files []*ast.File
			for _, name := range pkg.GoFiles {
				f, err := parser.ParseFile(fset, path.Join(dir, name), nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
			if _, err := (&types.Config{Importer: from}).Check(module+dir, fset, files, info); err != nil {
				t.Fatalf("%s: %v", dir, err)
			}
			for _, f := range files {
				for _, d := range f.Decls {
					fn, ok := d.(*ast.FuncDecl)
					if !ok || !floats(fn, info) {
						continue
					}
					used = append(used, path.Base(dir)+"."+fn.Name.Name)
				}
			}
			return nil
		})
	}
	for _, fn := range used {
		if !slices.Contains(tables, fn) {
			t.Errorf("%s reckons in floating point", fn)
		}
	}
	for _, fn := range tables {
		if !slices.Contains(used, fn) {
			t.Errorf("%s does not: take it out of the list", fn)
		}
	}
}

// floats reports whether anything in a function is a floating point number that
// is not a constant.
func floats(fn *ast.FuncDecl, info *types.Info) (yes bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		tv := info.Types[e]
		if b, ok := tv.Type.(*types.Basic); ok && tv.IsValue() && tv.Value == nil && b.Info()&(types.IsFloat|types.IsComplex) != 0 {
			yes = true
		}
		return true
	})
	return yes
}
