package containers

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/sirupsen/logrus"
)

// forwardLogs sends containerd's log to log. What containerd calls info is
// debug here: each plugin it loads, each container it makes.
func forwardLogs(log *slog.Logger) {
	l := logrus.StandardLogger()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.WarnLevel)
	if log.Enabled(context.Background(), slog.LevelDebug) {
		l.SetLevel(logrus.InfoLevel)
	}
	l.AddHook(logHook{log})
}

type logHook struct{ log *slog.Logger }

func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h logHook) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	switch {
	case strings.HasPrefix(e.Message, "failed to load plugin"):
		// All are required: it is Serve's error.
	case e.Level <= logrus.ErrorLevel:
		level = slog.LevelError
	case e.Level == logrus.WarnLevel:
		level = slog.LevelWarn
	}
	args := make([]any, 0, 2*len(e.Data))
	for key, v := range e.Data {
		if key == logrus.ErrorKey {
			key = "err"
		}
		args = append(args, key, v)
	}
	h.log.Log(context.Background(), level, e.Message, args...)
	return nil
}
