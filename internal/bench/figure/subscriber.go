package figure

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"
)

// subscriber reads server-sent events from a plain connection, so that the
// clients cost little beside the server that is measured.
type subscriber struct {
	conn net.Conn
	body *bufio.Reader // the events, without what HTTP puts around them
}

// subscribe opens a stream and waits for its first bytes, which say that it is
// open.
func subscribe(address, path string) (*subscriber, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	s, err := handshake(conn, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe: %w", err), conn.Close())
	}
	return s, nil
}

func handshake(conn net.Conn, path string) (*subscriber, error) {
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", path, apiKey)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 4<<10)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || len(resp.TransferEncoding) == 0 {
		return nil, fmt.Errorf("HTTP %s, not a stream", resp.Status)
	}
	s := &subscriber{conn: conn, body: bufio.NewReaderSize(httputil.NewChunkedReader(r), 32<<10)}
	_, err = s.body.ReadString('\n')
	return s, err
}

// listener only holds a stream open: it takes as little memory as a
// connection can, so that the server's share can be seen.
type listener struct{ conn net.Conn }

// listen opens a stream and waits for its first bytes.
func listen(address, path string) (*listener, error) {
	s, err := subscribe(address, path)
	if err != nil {
		return nil, err
	}
	return &listener{s.conn}, nil
}

// eventMark begins the second line of every event and stands nowhere else,
// since JSON has no line breaks.
const eventMark = "\nevent: "

// count reads until n events have come.
func (s *subscriber) count(n int) error {
	buf := make([]byte, 32<<10)
	kept := 0 // bytes of the last read that may be the start of a mark
	for n > 0 {
		got, err := s.body.Read(buf[kept:])
		n -= bytes.Count(buf[:kept+got], []byte(eventMark))
		if err != nil && n > 0 {
			return fmt.Errorf("%d events are missing: %w", n, err)
		}
		all := buf[:kept+got]
		kept = copy(buf, all[max(0, len(all)-len(eventMark)+1):])
	}
	return nil
}

// stamp begins the time of sending in an event's text.
const stamp = "sent at "

func stamped() string {
	return stamp + strconv.FormatInt(time.Now().UnixNano(), 10) + " " + payload[40:]
}

// delays reads n events with a stamp and gives how long each was under way.
func (s *subscriber) delays(n int) ([]time.Duration, error) {
	out := make([]time.Duration, 0, n)
	for len(out) < n {
		line, err := s.body.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("%d events are missing: %w", n-len(out), err)
		}
		_, after, ok := bytes.Cut(line, []byte(stamp))
		if !ok {
			continue
		}
		digits, _, _ := bytes.Cut(after, []byte(" "))
		sent, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("event with a broken stamp: %w", err)
		}
		out = append(out, time.Duration(time.Now().UnixNano()-sent))
	}
	return out, nil
}

func (s *subscriber) close() error { return s.conn.Close() }

// subscribers are connections to one stream.
type subscribers []*subscriber

func subscribeAll(address, path string, n int) (all subscribers, err error) {
	var mu sync.Mutex
	err = spread(n, 16, func(int) error {
		s, err := subscribe(address, path)
		if err == nil {
			mu.Lock()
			all = append(all, s)
			mu.Unlock()
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, all.close())
	}
	return all, nil
}

func (all subscribers) close() error {
	var errs []error
	for _, s := range all {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// each reads from all at once, while feed runs.
func (all subscribers) each(ctx context.Context, feed func() error, read func(*subscriber) error) error {
	stop := context.AfterFunc(ctx, func() { _ = all.close() }) // ends the reads
	defer stop()
	var group sync.WaitGroup
	errs := make([]error, len(all)+1)
	for i, s := range all {
		group.Go(func() { errs[i] = read(s) })
	}
	if errs[len(all)] = feed(); errs[len(all)] != nil {
		_ = all.close()
	}
	group.Wait()
	return errors.Join(errs...)
}
