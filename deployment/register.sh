#!/bin/sh
# Tell the SuperLink which SuperNodes may join: every public key below $FLWR_HOME. A key that it knows already stays.
set -eu
seconds=${1:-120}
for key in "$FLWR_HOME"/*.pub; do
    until answer=$(flwr supernode register "$key" semfed 2>&1); do
        case $answer in
        *"already in use"*)
            answer="$key is registered"
            break
            ;;
        *"is unavailable"*)
            seconds=$((seconds - 2))
            [ "$seconds" -gt 0 ] && sleep 2 && continue
            ;;
        esac
        echo "$answer" >&2
        exit 1
    done
    echo "$answer"
done
