package tidy

import (
	"fmt"
	"go/ast"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
)

var untypedAtomic = regexp.MustCompile(`^(Add|And|CompareAndSwap|Load|Or|Store|Swap)`)

// atomicProblems finds calls of the functions of sync/atomic. A variable that
// is accessed by them can also be accessed without them by mistake, and a
// 64-bit one is misaligned on 32-bit platforms; the typed atomics rule out both.
func atomicProblems(s source) (problems []string) {
	local := ""
	for _, spec := range s.file.Imports {
		if spec.Path.Value == `"sync/atomic"` {
			local = "atomic"
			if spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	if local == "" {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local && untypedAtomic.MatchString(sel.Sel.Name) {
				problems = append(problems, fmt.Sprintf("%s:%d: %s.%s: use a typed atomic", s.path, s.line(n.Pos()), local, sel.Sel.Name))
			}
		}
		return true
	})
	return problems
}

func TestAtomicsAreTyped(t *testing.T) {
	for _, s := range sources(t) {
		report(t, atomicProblems(s))
	}
}

func TestAtomicCheckSeesFunctions(t *testing.T) {
	const typed = `package p
import "sync/atomic"
var n atomic.Uint64
var p atomic.Pointer[int]
func f() { n.Add(1); n.Load(); p.Store(nil) }`
	assert.Empty(t, atomicProblems(parseSource(t, "a.go", typed)))
	const untyped = `package p
import at "sync/atomic"
var n uint64
func f() { at.AddUint64(&n, 1); _ = at.LoadUint64(&n) }`
	assert.Len(t, atomicProblems(parseSource(t, "a.go", untyped)), 2)
}
