package ozagent

import (
	"fmt"
	"strings"
)

const (
	diffContext = 3 // lines around a change
	// maxDiffCells bounds the table for the longest common subsequence, of 4
	// bytes each. A larger change is shown as a replaced block.
	maxDiffCells = 4 << 20
)

// unifiedDiff gives the change of a file in the unified format. It is empty
// when nothing changed.
func unifiedDiff(path, old, new string) string {
	if old == new {
		return ""
	}
	ops := diffLines(splitLines(old), splitLines(new))
	var out strings.Builder
	fmt.Fprintf(&out, "--- a/%s\n+++ b/%s\n", path, path)
	for i := 0; i < len(ops); {
		if ops[i].sign == ' ' {
			i++
			continue
		}
		first := max(0, i-diffContext)
		last, quiet := i, 0
		for j := i; j < len(ops) && quiet <= 2*diffContext; j++ {
			if ops[j].sign == ' ' {
				quiet++
				continue
			}
			last, quiet = j, 0
		}
		end := min(len(ops), last+1+diffContext)
		writeHunk(&out, ops, first, end)
		i = end
	}
	return out.String()
}

// diffOp is a line with ' ', '-' or '+'.
type diffOp struct {
	sign byte
	line string
}

func writeHunk(out *strings.Builder, ops []diffOp, first, end int) {
	oldLine, newLine := 1, 1
	for _, op := range ops[:first] {
		if op.sign != '+' {
			oldLine++
		}
		if op.sign != '-' {
			newLine++
		}
	}
	oldCount, newCount := 0, 0
	for _, op := range ops[first:end] {
		if op.sign != '+' {
			oldCount++
		}
		if op.sign != '-' {
			newCount++
		}
	}
	// A side without lines is named by the line before it (POSIX, diff -u).
	if oldCount == 0 {
		oldLine--
	}
	if newCount == 0 {
		newLine--
	}
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", oldLine, oldCount, newLine, newCount)
	for _, op := range ops[first:end] {
		out.WriteByte(op.sign)
		out.WriteString(op.line)
		if !strings.HasSuffix(op.line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// diffLines aligns two lists of lines.
func diffLines(a, b []string) []diffOp {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var ops []diffOp
	for _, l := range a[:head] {
		ops = append(ops, diffOp{' ', l})
	}
	ops = append(ops, diffMiddle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, l := range a[len(a)-tail:] {
		ops = append(ops, diffOp{' ', l})
	}
	return ops
}

// diffMiddle aligns by the longest common subsequence.
func diffMiddle(a, b []string) []diffOp {
	n, m := len(a), len(b)
	if (n+1)*(m+1) > maxDiffCells {
		return replaced(a, b)
	}
	table := make([]int32, (n+1)*(m+1))
	at := func(i, j int) int32 { return table[i*(m+1)+j] }
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i*(m+1)+j] = at(i+1, j+1) + 1
			} else {
				table[i*(m+1)+j] = max(at(i+1, j), at(i, j+1))
			}
		}
	}
	var ops []diffOp
	i, j := 0, 0
	for i < n && j < m {
		switch {
		case a[i] == b[j]:
			ops = append(ops, diffOp{' ', a[i]})
			i, j = i+1, j+1
		case at(i+1, j) >= at(i, j+1):
			ops = append(ops, diffOp{'-', a[i]})
			i++
		default:
			ops = append(ops, diffOp{'+', b[j]})
			j++
		}
	}
	return append(ops, replaced(a[i:], b[j:])...)
}

func replaced(a, b []string) []diffOp {
	var ops []diffOp
	for _, l := range a {
		ops = append(ops, diffOp{'-', l})
	}
	for _, l := range b {
		ops = append(ops, diffOp{'+', l})
	}
	return ops
}
