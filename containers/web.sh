#!/bin/sh
# Makes the lab's image "web", an OCI archive of a static busybox: an HTTP server
# on port 80 whose page is the pod's host name, and the usual network tools.
#
#   containers/web.sh amd64|arm64 OUT.tar
set -eu
usage="usage: $0 amd64|arm64 OUT.tar"
arch=${1:?$usage} out=${2:?$usage}
case $out in /*) ;; *) out=$PWD/$out ;; esac
here=$(cd "$(dirname "$0")" && pwd)
busybox=$(cd "$here" && go run ./debroot "$arch" busybox-static)/bin/busybox
set -- --arch "$arch" --file bin/busybox="$busybox" -o "$out"
for applet in sh cat echo grep head hostname httpd id ip kill ls mkdir mount nc netstat nslookup ping ps sleep top traceroute vi wget; do
	set -- "$@" --link bin/$applet=busybox
done
cd "$here"
exec go run ./mkarchive "$@" --env PATH=/bin --entrypoint /bin/sh -- -c \
	'mkdir -p /www && hostname >/www/index.html && exec httpd -f -p 80 -h /www'
