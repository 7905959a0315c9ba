#!/bin/sh
# Make what TLS and authentication need, one folder for every service, which sees no other:
#   authority/      the key of the certificate authority: needed to make more certificates, by no service
#   superlink/      certificate and key of the server, and the secret that its SuperExec shows
#   supernode-<k>/  the key that proves who the node is, and certificate, key and secret for its own SuperExec
#   control/        public keys of the nodes and a configuration of `flwr`, to register nodes and to start runs
# What is there already is kept.
# usage: make-keys.sh FOLDER NODES
set -eu
umask 077
keys=$1
nodes=$2
days=825
mkdir -p "$keys/authority" "$keys/superlink" "$keys/control"

if [ ! -f "$keys/ca.crt" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -days "$days" -subj "/CN=semfed authority" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
        -keyout "$keys/authority/ca.key" -out "$keys/ca.crt"
fi

# certify FOLDER NAME ALTERNATIVE_NAMES
certify() {
    mkdir -p "$1"
    cp "$keys/ca.crt" "$1/ca.crt"
    [ -f "$1/server.crt" ] && return
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -subj "/CN=$2" \
        -addext "subjectAltName=$3" -addext extendedKeyUsage=serverAuth -keyout "$1/server.key" -out "$1/request"
    openssl x509 -req -in "$1/request" -CA "$keys/ca.crt" -CAkey "$keys/authority/ca.key" -days "$days" \
        -copy_extensions copy -out "$1/server.crt"
    rm "$1/request"
    openssl rand -hex 32 >"$1/superexec.secret"
}

certify "$keys/superlink" superlink DNS:superlink,DNS:localhost,IP:127.0.0.1
k=1
while [ "$k" -le "$nodes" ]; do
    certify "$keys/supernode-$k" "supernode-$k" "DNS:supernode-$k"
    [ -f "$keys/supernode-$k/node" ] ||
        ssh-keygen -q -t ecdsa -b 384 -N "" -C "supernode-$k" -f "$keys/supernode-$k/node"
    cp "$keys/supernode-$k/node.pub" "$keys/control/supernode-$k.pub"
    k=$((k + 1))
done

cp "$keys/ca.crt" "$keys/control/ca.crt"
cat >"$keys/control/config.toml" <<END
[superlink]
default = "semfed"

[superlink.semfed]
address = "superlink:8000"
root-certificates = "/srv/flwr/ca.crt"
END
chmod 755 "$keys"
chmod 644 "$keys/ca.crt"
