#!/bin/sh
# Makes the certificates that README.md describes, in the current directory. Needs OpenSSL 3.0 with MD5.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' >"$work/ca.ext"
printf 'subjectAltName=DNS:device1.example.com\nextendedKeyUsage=clientAuth\n' >"$work/leaf.ext"
rsa() { openssl genrsa -out "$work/$1.key" 2048 2>/dev/null; }
ec() { openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"; }
request() { openssl req -new -key "$work/$1.key" -subj "/O=throw-away/CN=$2" -out "$work/$1.csr"; }

# self NAME KEY-KIND [EXTENSIONS]: a self-signed certificate; without extensions it is of version 1.
self() {
    "$2" "$1"
    request "$1" "$1"
    openssl x509 -req -in "$work/$1.csr" -signkey "$work/$1.key" -sha256 -days 36500 ${3:+-extfile "$work/$3"} \
        -out "$work/$1.pem" 2>/dev/null
    openssl x509 -in "$work/$1.pem" -outform DER -out "$1.der"
}

# leaf NAME ISSUER OPTIONS...: a certificate with the name, signed as the options say.
leaf() {
    name=$1 issuer=$2
    shift 2
    ec "$name"
    request "$name" "$name"
    openssl x509 -req -in "$work/$name.csr" -CA "$work/$issuer.pem" -CAkey "$work/$issuer.key" -set_serial 1 -days 36500 \
        -extfile "$work/leaf.ext" "$@" -outform DER -out "$name.der" 2>/dev/null
}

self root rsa ca.ext
leaf leaf-sha256 root -sha256
leaf leaf-sha1 root -sha1
leaf leaf-md5 root -md5
leaf leaf-pss-sha256 root -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32
leaf leaf-pss-sha1 root -sha1 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20
self root-ec ec ca.ext
leaf leaf-ec-sha1 root-ec -sha1
self root-v1 rsa
leaf leaf-under-v1 root-v1 -sha256
self v1 ec
