package sqlitestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Sizes of the table stats.
const (
	chunkBits  = 6 // 64 runs share a row: about 3 KiB, which fits a page
	spanChunks = 64
)

// chunkOf gives the row of a run and its place there.
func chunkOf(n int64) (chunk int64, slot byte) { return n >> chunkBits, byte(n & (1<<chunkBits - 1)) }

// statsStates numbers the states in records. The order is that on the disk.
var statsStates = [...]task.State{task.StateSucceeded, task.StateFailed, task.StateBlocked, task.StateError, task.StateCancelled}

// Flags of a record, beside the number of its state.
const (
	statsStateMask = 0x07
	statsBegan     = 0x10
	statsCosts     = 0x20
	statsUnpriced  = 0x40
	statsPrivate   = 0x80
)

// The names of a record, by their place in statsRecord.names.
const (
	nameOwner = iota
	nameCreator
	nameSource
	nameEnvironment
	nameAgent
	nameHarness
	nameModel
	nameCode
	statsNames
)

// statsRecord is what the table stats keeps of a run. Names are ids of the
// table stats_names.
type statsRecord struct {
	slot           byte
	flags          byte
	created        int64
	names          [statsNames]int64
	queued, worked int64
	usd            float64
}

// statsRecordOf packs a fact; its names are still to come.
func statsRecordOf(f task.RunFact) statsRecord {
	r := statsRecord{flags: byte(max(slices.Index(statsStates[:], f.State), 0)), queued: int64(f.Queued), worked: int64(f.Worked), usd: f.USD}
	set := func(on bool, flag byte) {
		if on {
			r.flags |= flag
		}
	}
	set(f.Began, statsBegan)
	set(f.USD != 0, statsCosts)
	set(f.Unpriced, statsUnpriced)
	set(f.Private, statsPrivate)
	return r
}

// fact unpacks a record; code is the name of its code.
func (r *statsRecord) fact(code string) task.RunFact {
	return task.RunFact{State: statsStates[r.flags&statsStateMask], Code: task.Code(code), Began: r.flags&statsBegan != 0, Queued: time.Duration(r.queued),
		Worked: time.Duration(r.worked), USD: r.usd, Unpriced: r.flags&statsUnpriced != 0, Private: r.flags&statsPrivate != 0}
}

// append writes a record behind others: its length, then what it holds.
func (r *statsRecord) append(to []byte) []byte {
	at := len(to)
	to = append(to, 0, r.slot, r.flags)
	to = binary.LittleEndian.AppendUint64(to, uint64(r.created))
	for _, id := range r.names {
		to = binary.AppendUvarint(to, uint64(id))
	}
	if r.flags&statsBegan != 0 {
		to = binary.AppendUvarint(to, uint64(r.queued))
		to = binary.AppendUvarint(to, uint64(r.worked))
	}
	if r.flags&statsCosts != 0 {
		to = binary.LittleEndian.AppendUint64(to, math.Float64bits(r.usd))
	}
	to[at] = byte(len(to) - at - 1) // at most 2 + 8 + 10*10 + 8
	return to
}

var errStatsRecord = errors.New("a record of the statistics is damaged")

// next gives the first record of a chunk in its packed form, and the others.
func nextStats(chunk []byte) (record, rest []byte, err error) {
	if len(chunk) == 0 || len(chunk) < 1+int(chunk[0]) || chunk[0] < 10 {
		return nil, nil, errStatsRecord
	}
	end := 1 + int(chunk[0])
	return chunk[1:end], chunk[end:], nil
}

// parse unpacks what append wrote, without the length.
func (r *statsRecord) parse(b []byte) error {
	r.slot, r.flags = b[0], b[1]
	if int(r.flags&statsStateMask) >= len(statsStates) || r.slot>>chunkBits != 0 {
		return errStatsRecord
	}
	r.created = int64(binary.LittleEndian.Uint64(b[2:]))
	b = b[10:]
	number := func() (v int64) {
		u, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return -1
		}
		b = b[n:]
		return int64(u)
	}
	for i := range r.names {
		r.names[i] = number()
	}
	r.queued, r.worked, r.usd = 0, 0, 0
	if r.flags&statsBegan != 0 {
		r.queued, r.worked = number(), number()
	}
	if r.flags&statsCosts != 0 {
		if len(b) != 8 {
			return errStatsRecord
		}
		r.usd, b = math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:]
	}
	if len(b) != 0 || r.names[nameCode] < 0 || r.worked < 0 {
		return errStatsRecord
	}
	return nil
}

// withoutStats gives a chunk without the record of a place, in memory of its own.
func withoutStats(chunk []byte, slot byte) ([]byte, error) {
	out := make([]byte, 0, len(chunk)+64)
	for rest := chunk; len(rest) > 0; {
		record, more, err := nextStats(rest)
		if err != nil {
			return nil, fmt.Errorf("chunk of %d bytes: %w", len(chunk), err)
		}
		if record[0] != slot {
			out = append(out, rest[:len(rest)-len(more)]...)
		}
		rest = more
	}
	return out, nil
}
