#!/bin/sh
# Makes the lab's image "web", an OCI archive of a static busybox: an HTTP server
# on port 80 whose page is the pod's host name, and the usual network tools.
#
#   containers/web.sh amd64|arm64 OUT.tar
set -eu
here=$(cd "$(dirname "$0")" && pwd)
busybox=$("$here/fetch-deb.sh" "$1" busybox-static)/bin/busybox
set -- --arch "$1" --file bin/busybox="$busybox" -o "$2"
for applet in sh cat echo grep head hostname httpd id ip kill ls mkdir mount nc netstat nslookup ping ps sleep top traceroute vi wget; do
	set -- "$@" --link bin/$applet=busybox
done
exec go run "$here/mkimage" "$@" --env PATH=/bin --entrypoint /bin/sh -- -c \
	'mkdir -p /www && hostname >/www/index.html && exec httpd -f -p 80 -h /www'
