package tidy

import (
	"encoding/json"
	"fmt"
	"go/version"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goVersionMax is the newest language version the root module may demand of
// the programs that embed it.
const goVersionMax = "go1.25"

// minReasonLength tells a reason from an empty cell or a placeholder.
const minReasonLength = 20

// A row of the table under "## Dependencies" in CONTRIBUTING.md: `module` | reason |
var dependencyRow = regexp.MustCompile("(?m)^\\| *`([^`]+)` *\\|([^|]*)\\|")

// goMod is what the checks read of `go mod edit -json`.
type goMod struct {
	Go      string
	Require []struct {
		Path     string
		Indirect bool
	}
}

func dependencyProblems(mod goMod, contributing string) (problems []string) {
	_, section, ok := strings.Cut(contributing, "\n## Dependencies\n")
	if !ok {
		return []string{`CONTRIBUTING.md has no section "Dependencies"`}
	}
	section, _, _ = strings.Cut(section, "\n## ")
	reasons := make(map[string]string)
	for _, row := range dependencyRow.FindAllStringSubmatch(section, -1) {
		reasons[row[1]] = strings.TrimSpace(row[2])
	}
	for _, req := range mod.Require {
		if req.Indirect {
			continue
		}
		if len(reasons[req.Path]) < minReasonLength {
			problems = append(problems, fmt.Sprintf("go.mod requires %s, and CONTRIBUTING.md gives no reason", req.Path))
		}
		delete(reasons, req.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(reasons)) {
		problems = append(problems, fmt.Sprintf("CONTRIBUTING.md lists %s, which go.mod does not require", path))
	}
	if lang := version.Lang("go" + mod.Go); version.Compare(lang, goVersionMax) > 0 || lang == "" {
		problems = append(problems, fmt.Sprintf("go.mod says go %s, newer than %s", mod.Go, goVersionMax))
	}
	return problems
}

func TestEachDependencyHasAReason(t *testing.T) {
	var mod goMod
	require.NoError(t, json.Unmarshal(goOutput(t, "mod", "edit", "-json"), &mod))
	report(t, dependencyProblems(mod, readFile(t, "CONTRIBUTING.md")))
}

func TestDependencyCheckSeesUnexplainedAndStaleOnes(t *testing.T) {
	const doc = "# C\n| `e.org/elsewhere` | a table in another section |\n## Dependencies\n| `e.org/a` | does what we cannot do |\n| `e.org/b` | tests: compares things |\n## More\n| `e.org/c` | a table in another section |\n"
	parse := func(text string) (mod goMod) {
		require.NoError(t, json.Unmarshal([]byte(text), &mod))
		return mod
	}
	const a, b, indirect = `{"Path":"e.org/a"}`, `{"Path":"e.org/b"}`, `{"Path":"e.org/x","Indirect":true}`
	assert.Empty(t, dependencyProblems(parse(`{"Go":"1.25.0","Require":[`+a+","+b+","+indirect+`]}`), doc))
	assert.Len(t, dependencyProblems(parse(`{"Go":"1.25","Require":[`+a+`]}`), doc), 1, "stale row")
	assert.Len(t, dependencyProblems(parse(`{"Go":"1.25","Require":[`+a+","+b+`,{"Path":"e.org/c"}]}`), doc), 1, "no reason")
	assert.Len(t, dependencyProblems(parse(`{"Go":"1.26","Require":[`+a+","+b+`]}`), doc), 1, "go line")
	assert.Len(t, dependencyProblems(parse(`{"Require":[`+a+","+b+`]}`), doc), 1, "no go line")
	assert.Len(t, dependencyProblems(parse(`{"Go":"1.25"}`), "# C\n"), 1, "no section")
}

// A program that embeds the client must not link the server's event loop.
func TestEngineLinksNoEventLoop(t *testing.T) {
	deps := strings.Fields(string(goOutput(t, "list", "-deps", "./engine")))
	require.Contains(t, deps, modulePath+"/engine")
	report(t, eventLoops(deps))
}

func eventLoops(deps []string) (problems []string) {
	for _, dep := range deps {
		for _, module := range []string{"github.com/panjf2000/gnet", "github.com/panjf2000/ants", "go.uber.org/zap"} {
			if strings.HasPrefix(dep, module) {
				problems = append(problems, fmt.Sprintf("engine links %s", dep))
			}
		}
	}
	return problems
}

func TestLinkCheckSeesEventLoops(t *testing.T) {
	server := strings.Fields(string(goOutput(t, "list", "-deps", "./server")))
	assert.NotEmpty(t, eventLoops(server), "the server does link gnet")
}

// goOutput runs the go command in the root module.
func goOutput(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), stderr.String())
	return out
}
