#!/bin/sh
# A reader that misses nothing: shows what a channel says, and after a cut what was said meanwhile.
#
#   sh examples/resume.sh http://localhost:3000/sse/news
#
# The server keeps messages with --history N. What curl prints are server-sent events: fields, and
# an empty line at the end of each. An event's id is where to go on behind it; a stream that only
# says when to come back brings none.

newline='
'
url=${1:-http://localhost:3000/sse}
id= event= text=
position=$(mktemp) && trap 'rm -f "$position"' EXIT && trap 'exit 1' INT TERM
while :; do
  curl -sN -H "Last-Event-ID: $(cat "$position")" "$url" | while IFS= read -r line; do
    case $line in
      'id: '*) id=${line#id: } ;;
      'event: '*) event=${line#event: } ;;
      'data: '*) text=$text${line#data: }$newline ;;
      '')
        [ "$event" = reset ] && echo '(something may be missing here)'
        [ "$event" ] || printf %s "$text"
        [ "$id" ] && printf %s "$id" > "$position"
        event= text= ;;
    esac
  done
  sleep "$(awk 'BEGIN { srand(); print 1 + 4 * rand() }')"
done
