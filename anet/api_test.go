package anet_test

import (
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	facadePath = "github.com/ringwire/ringwire/anet"
	anetPath   = "github.com/andrei-cloud/anet"
)

// added is what the facade exports beyond anet v1.0.0.
const added = "var ErrTimeout error\n"

var anetModule = flag.String("anet.module", "", "folder of a module that requires anet v1.0.0")

// The committed listings are those of anet v1.0.0, so this needs no network.
func TestExportedAPIIsThatOfAnet(t *testing.T) {
	exports := exportData(t, ".", nil, facadePath, facadePath+"/server")
	for _, part := range []string{"", "/server"} {
		got := describe(t, exports, facadePath+part, facadePath)
		want := readListing(t, part)
		if part == "" {
			require.Equal(t, 1, strings.Count(got, added), "ErrTimeout is the one addition")
			got = strings.Replace(got, added, "", 1)
		}
		require.Equal(t, want, got, "exported API of %s", facadePath+part)
	}
}

// The committed listings are right if anet v1.0.0 itself gives the same.
func TestListedAPIIsThatOfAnet(t *testing.T) {
	if *anetModule == "" {
		t.Skip("anet v1.0.0 is not here; `make anet-compat` fetches it and compares the listings with it")
	}
	// Its server does not compile for linux/amd64.
	exports := exportData(t, *anetModule, []string{"GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0"}, anetPath, anetPath+"/server")
	for _, part := range []string{"", "/server"} {
		got := describe(t, exports, anetPath+part, anetPath)
		if os.Getenv("WRITE_LISTING") != "" {
			require.NoError(t, os.WriteFile(listing(part), []byte(got), 0o644))
		}
		require.Equal(t, readListing(t, part), got, "exported API of %s", anetPath+part)
	}
}

func TestListingSeesDifferences(t *testing.T) {
	list := func(source string) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module m\n\ngo 1.25\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "m.go"), []byte("package m\n"+source), 0o644))
		return describe(t, exportData(t, dir, nil, "m"), "m", "m")
	}
	same := list("type T struct{ A, B int; c int }\nfunc (t *T) M(n int) error { return nil }\nconst C = 2\nvar V error")
	require.Equal(t, same, list("type T struct{ A, B int; d, e bool }\nfunc (x *T) M(int) (err error) { return }\nconst C = 2\nvar V error\nfunc f() {}"))
	for _, other := range []string{
		"type T struct{ B, A int; c int }\nfunc (t *T) M(n int) error { return nil }\nconst C = 2\nvar V error",
		"type T struct{ A, B int }\nfunc (t *T) M(n int) error { return nil }\nconst C = 2\nvar V error",
		"type T struct{ A, B int; c int }\nfunc (t T) M(n int) error { return nil }\nconst C = 2\nvar V error",
		"type T struct{ A, B int; c int }\nfunc (t *T) M(n uint) error { return nil }\nconst C = 2\nvar V error",
		"type T struct{ A, B int; c int }\nfunc (t *T) M(n int) error { return nil }\nconst C int = 2\nvar V error",
		"type T struct{ A, B int; c int }\nfunc (t *T) M(n int) error { return nil }\nconst C = 3\nvar V error",
		"type T struct{ A, B int; c int }\nfunc (t *T) M(n int) error { return nil }\nconst C = 2\nvar V int",
		"type T struct{ A, B int; c int }\nfunc (t *T) M(n int) error { return nil }\nconst C = 2\nvar V error\nfunc F() {}",
	} {
		require.NotEqual(t, same, list(other), other)
	}
}

func listing(part string) string {
	return filepath.Join("testdata", "api"+strings.ReplaceAll(part, "/", "-")+".txt")
}

func readListing(t *testing.T, part string) string {
	t.Helper()
	text, err := os.ReadFile(listing(part))
	require.NoError(t, err)
	return string(text)
}

// exportData compiles packages and returns, by import path, the files with their
// and their dependencies' types.
func exportData(t *testing.T, dir string, env []string, packages ...string) map[string]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}, packages...)...)
	list.Dir = dir
	list.Env = append(os.Environ(), env...)
	var complaint strings.Builder
	list.Stderr = &complaint
	out, err := list.Output()
	require.NoError(t, err, complaint.String())
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			files[path] = file
		}
	}
	return files
}

// describe lists what a package exports, one line for each name, field and method.
// Names of parameters and what is not exported do not show; that there are private
// or embedded fields does. Types of the module at root are written without its path.
func describe(t *testing.T, exports map[string]string, path, root string) string {
	t.Helper()
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	pkg, err := imp.Import(path)
	require.NoError(t, err)
	d := &description{root: root}
	for _, name := range pkg.Scope().Names() {
		if token.IsExported(name) {
			d.object(pkg.Scope().Lookup(name))
		}
	}
	return d.String()
}

type description struct {
	strings.Builder
	root string
}

func (d *description) line(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *description) of(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string { return strings.TrimPrefix(strings.TrimPrefix(p.Path(), d.root), "/") })
}

func (d *description) object(o types.Object) {
	switch o := o.(type) {
	case *types.Const:
		d.line("const %s %s = %s", o.Name(), d.of(o.Type()), o.Val().ExactString())
	case *types.Var:
		d.line("var %s %s", o.Name(), d.of(o.Type()))
	case *types.Func:
		d.line("func %s%s", o.Name(), d.signature(o.Signature()))
	case *types.TypeName:
		d.typeName(o)
	}
}

func (d *description) typeName(o *types.TypeName) {
	d.line("type %s", d.of(o.Type()))
	switch u := o.Type().Underlying().(type) {
	case *types.Struct:
		private := false
		for field := range u.Fields() {
			if field.Exported() {
				d.line("\tfield %s %s", field.Name(), d.of(field.Type()))
			}
			private = private || !field.Exported() || field.Embedded()
		}
		d.line("\tprivate or embedded fields: %v", private)
	case *types.Interface: // its methods are listed below
	case *types.Signature:
		d.line("\tfunc%s", d.signature(u))
	default:
		d.line("\t%s", d.of(u))
	}
	d.methods(o.Type())
	if !types.IsInterface(o.Type()) {
		d.methods(types.NewPointer(o.Type()))
	}
}

func (d *description) methods(t types.Type) {
	set := types.NewMethodSet(t)
	for selection := range set.Methods() {
		if f := selection.Obj().(*types.Func); f.Exported() {
			d.line("\tmethod (%s) %s%s", d.of(t), f.Name(), d.signature(f.Signature()))
		}
	}
}

// signature leaves the names of parameters out.
func (d *description) signature(s *types.Signature) string {
	bare := func(tuple *types.Tuple) *types.Tuple {
		var vars []*types.Var
		for v := range tuple.Variables() {
			vars = append(vars, types.NewParam(token.NoPos, nil, "", v.Type()))
		}
		return types.NewTuple(vars...)
	}
	var generic []string
	for p := range s.TypeParams().TypeParams() {
		generic = append(generic, p.Obj().Name()+" "+d.of(p.Constraint()))
	}
	text := d.of(types.NewSignatureType(nil, nil, nil, bare(s.Params()), bare(s.Results()), s.Variadic()))
	if len(generic) == 0 {
		return strings.TrimPrefix(text, "func")
	}
	return "[" + strings.Join(generic, ", ") + "]" + strings.TrimPrefix(text, "func")
}
