package cliagent

import (
	"bufio"
	"errors"
	"io"
)

// lines reads lines of any length in bounded memory.
type lines struct {
	in  *bufio.Reader
	max int
	buf []byte
}

func newLines(r io.Reader, max int) *lines {
	return &lines{in: bufio.NewReaderSize(r, 64<<10), max: max}
}

// next gives the next line without its end; it is valid until the next call.
// Of a line that is longer than the limit it gives nothing but the size. A last
// line without an end is none: its writer was cut off.
func (l *lines) next() (line []byte, dropped int64, err error) {
	l.buf = l.buf[:0]
	var size int64
	for {
		part, err := l.in.ReadSlice('\n')
		size += int64(len(part))
		if size <= int64(l.max)+1 {
			l.buf = append(l.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, size, err
		case size > int64(l.max)+1:
			l.buf = nil // do not keep the room of the largest line
			return nil, size, nil
		}
		line = l.buf[:len(l.buf)-1]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		return line, 0, nil
	}
}
