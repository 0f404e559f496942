package pgstore

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

const (
	packedBits = 10 // 1,024 runs share a row of stats_packed
	packedRuns = 1 << packedBits
	packedForm = 1 // the first byte of a row
	packedRow  = 2 + 8 + 1 + 2*packedNames + 3*8
)

// The strings of a run, by their place in statsRow.names: as the columns hold
// them.
const (
	packedOwner = iota
	packedCreator
	packedSource
	packedEnvironment
	packedAgent
	packedHarness
	packedModel
	packedCode
	packedNames
)

// packedStates numbers the states. The order is that on the disk.
var packedStates = [...]task.State{task.StateSucceeded, task.StateFailed, task.StateBlocked, task.StateError, task.StateCancelled}

// Flags of a run, beside the number of its state.
const (
	packedState    = 0x07
	packedBegan    = 0x10
	packedUnpriced = 0x20
	packedPrivate  = 0x40
)

var errPackedStats = errors.New("a row of stats_packed is damaged; empty the table and put every n of run_stats into stats_fresh")

// statsRow is a row of run_stats.
type statsRow struct {
	n, created int64
	fact       task.RunFact
	names      [packedNames]string
}

// packStats packs rows of one chunk: how many they are, the strings that they
// have, and then column after column.
func packStats(rows []statsRow) []byte {
	ids, list := map[string]uint16{}, []string(nil)
	for _, r := range rows {
		for _, name := range r.names {
			if _, known := ids[name]; !known { // at most 8 * 1024
				ids[name], list = uint16(len(list)), append(list, name)
			}
		}
	}
	out := binary.AppendUvarint([]byte{packedForm}, uint64(len(rows)))
	out = binary.AppendUvarint(out, uint64(len(list)))
	for _, name := range list {
		out = append(binary.AppendUvarint(out, uint64(len(name))), name...)
	}
	le := binary.LittleEndian
	for _, r := range rows {
		out = le.AppendUint16(out, uint16(r.n&(packedRuns-1)))
	}
	for _, r := range rows {
		out = le.AppendUint64(out, uint64(r.created))
	}
	for _, r := range rows {
		out = append(out, packedFlags(r.fact))
	}
	for i := range packedNames {
		for _, r := range rows {
			out = le.AppendUint16(out, ids[r.names[i]])
		}
	}
	for _, column := range []func(statsRow) uint64{
		func(r statsRow) uint64 { return uint64(r.fact.Queued) },
		func(r statsRow) uint64 { return uint64(r.fact.Worked) },
		func(r statsRow) uint64 { return math.Float64bits(r.fact.USD) },
	} {
		for _, r := range rows {
			out = le.AppendUint64(out, column(r))
		}
	}
	return out
}

func packedFlags(f task.RunFact) byte {
	flags := byte(max(slices.Index(packedStates[:], f.State), 0))
	if f.Began {
		flags |= packedBegan
	}
	if f.Unpriced {
		flags |= packedUnpriced
	}
	if f.Private {
		flags |= packedPrivate
	}
	return flags
}

// statsChunk is what packStats has made: the columns point into it.
type statsChunk struct {
	rows    int
	strings []string
	slots   []byte
	created []byte
	flags   []byte
	names   [packedNames][]byte
	queued  []byte
	worked  []byte
	cost    []byte
}

// parse checks what is read of data, so that the other methods cannot fail.
func (c *statsChunk) parse(data []byte) error {
	if len(data) == 0 || data[0] != packedForm {
		return errPackedStats
	}
	data = data[1:]
	number := func(most int) int {
		v, n := binary.Uvarint(data)
		if n <= 0 || v > uint64(most) {
			data = nil
			return -1
		}
		data = data[n:]
		return int(v)
	}
	c.rows = number(packedRuns)
	strings := number(packedRuns * packedNames)
	c.strings = c.strings[:0]
	for range strings {
		n := number(len(data))
		if n < 0 || n > len(data) {
			return errPackedStats
		}
		c.strings = append(c.strings, string(data[:n]))
		data = data[n:]
	}
	if c.rows < 0 || strings < 0 || len(data) != c.rows*packedRow {
		return errPackedStats
	}
	column := func(width int) (part []byte) {
		part, data = data[:width*c.rows], data[width*c.rows:]
		return part
	}
	c.slots, c.created, c.flags = column(2), column(8), column(1)
	for i := range c.names {
		c.names[i] = column(2)
	}
	c.queued, c.worked, c.cost = column(8), column(8), column(8)
	return c.check()
}

func (c *statsChunk) check() error {
	for i := range c.rows {
		if c.slot(i) >= packedRuns || int(c.flags[i]&packedState) >= len(packedStates) {
			return errPackedStats
		}
	}
	for name := range c.names {
		for i := range c.rows {
			if int(c.name(name, i)) >= len(c.strings) {
				return errPackedStats
			}
		}
	}
	return nil
}

func (c *statsChunk) slot(i int) int { return int(binary.LittleEndian.Uint16(c.slots[2*i:])) }
func (c *statsChunk) at(i int) int64 { return int64(binary.LittleEndian.Uint64(c.created[8*i:])) }
func (c *statsChunk) name(name, i int) uint16 {
	return binary.LittleEndian.Uint16(c.names[name][2*i:])
}

// fact is that of run i. Its code is the column's.
func (c *statsChunk) fact(i int) task.RunFact {
	le, flags := binary.LittleEndian, c.flags[i]
	return task.RunFact{State: packedStates[flags&packedState], Code: task.Code(c.strings[c.name(packedCode, i)]), Began: flags&packedBegan != 0,
		Queued: time.Duration(le.Uint64(c.queued[8*i:])), Worked: time.Duration(le.Uint64(c.worked[8*i:])),
		USD: math.Float64frombits(le.Uint64(c.cost[8*i:])), Unpriced: flags&packedUnpriced != 0, Private: flags&packedPrivate != 0}
}
