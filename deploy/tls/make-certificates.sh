#!/bin/sh
# Makes a certificate authority (CA) of your own, and certificates for Dask; `make-certificates.sh help` says how.
set -eu
umask 077

usage() {
    cat <<'END'
usage: make-certificates.sh ca [--days N] FOLDER
       make-certificates.sh issue [--days N] --ca FOLDER --out FOLDER NAME[,HOST...] ...
       make-certificates.sh help

ca      makes a private CA: ca.pem, which everybody may see, and ca-key.pem, which stays in this FOLDER: who has it
        joins the cluster. It lasts 3650 days unless --days says otherwise. A CA that is there is left as it is.
issue   makes for each NAME, a host or a role such as driver, a folder OUT/NAME with ca.pem, cert.pem and key.pem.
        HOSTs are further host names and addresses. They last 365 days; given again it makes new ones: a renewal.

Exit code 2: wrong usage, or something is in the way or failed, and it said what.
END
}

say() {
    printf 'make-certificates.sh: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 2
}

ssl() { # openssl, which is heard only when it fails
    openssl "$@" 2>"$work/told" || {
        cat "$work/told" >&2
        die "openssl $1 failed, as it says above"
    }
}

until_when() { # of a certificate
    openssl x509 -noout -enddate -in "$1" | sed 's/^notAfter=//'
}

need_value() {
    [ $# -gt 1 ] || die "$1: its value is missing"
}

check_days() {
    case $1 in
    '' | 0* | *[!0-9]*) die "--days $1: not a number of days, such as 365" ;;
    ??????*) die "--days $1: at most 99999" ;;
    esac
}

check_names() { # of a certificate: the first names a folder, all go into a file that openssl reads
    case $1 in
    '' | .* | -* | *[!A-Za-z0-9.:,_-]*) die "$1: a NAME, and HOSTs after commas, have letters, digits, dots and - only" ;;
    esac
    case ${1%%,*} in
    '' | *:*) die "$1: the first is a NAME, such as scheduler; addresses come after it" ;;
    esac
}

# --- a CA ---------------------------------------------------------------------------------------------------------------

make_ca() {
    days=3650
    while [ $# -gt 0 ]; do
        case $1 in
        --days) need_value "$@" && check_days "$2" && days=$2 ;;
        -*) die "unknown option: $1" ;;
        *) break ;;
        esac
        shift 2
    done
    if [ $# -ne 1 ]; then die "ca takes one FOLDER, but got: ${*:-none}"; fi
    folder=$1
    for file in ca.pem ca-key.pem; do
        if [ -e "$folder/$file" ]; then
            die "$folder/$file: is there already; what it signed would be worth nothing. Choose another FOLDER"
        fi
    done
    mkdir -p "$folder" || die "$folder: cannot be made"
    make_workplace "$folder"
    cat >"$work/conf" <<END
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = covsvc cluster $(openssl rand -hex 4)
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
END
    ssl ecparam -name prime256v1 -genkey -noout -out "$work/ca-key.pem"
    ssl req -x509 -new -sha256 -config "$work/conf" -key "$work/ca-key.pem" -days "$days" -out "$work/ca.pem"
    chmod 644 "$work/ca.pem"
    # a link is refused where another one was quicker
    ln "$work/ca-key.pem" "$folder/ca-key.pem" 2>"$work/told" || die "$folder: another one makes a CA there"
    mv "$work/ca.pem" "$folder/ca.pem"
    say "made a CA in $folder, until $(until_when "$folder/ca.pem")"
    say "$folder/ca-key.pem signs who may join: keep it here, and a copy in a safe place, and give it to no host"
}

# --- certificates -------------------------------------------------------------------------------------------------------

issue_all() {
    days=365 ca='' out=''
    while [ $# -gt 0 ]; do
        case $1 in
        --days) need_value "$@" && check_days "$2" && days=$2 ;;
        --ca) need_value "$@" && ca=$2 ;;
        --out) need_value "$@" && out=$2 ;;
        -*) die "unknown option: $1" ;;
        *) break ;;
        esac
        shift 2
    done
    [ -n "$ca" ] || die "--ca is missing: the FOLDER of a CA, which \`make-certificates.sh ca FOLDER\` makes"
    [ -n "$out" ] || die "--out is missing: the FOLDER that gets a folder for each NAME"
    [ $# -gt 0 ] || die "no NAME: whom are certificates for?"
    for names in "$@"; do
        check_names "$names"
    done
    for file in ca.pem ca-key.pem; do
        [ -r "$ca/$file" ] || die "$ca/$file: cannot be read; \`make-certificates.sh ca $ca\` makes a CA"
    done
    openssl x509 -noout -checkend $((days * 86400)) -in "$ca/ca.pem" >/dev/null ||
        die "the CA ends on $(until_when "$ca/ca.pem"), before $days days: take fewer --days, or make a new CA"
    mkdir -p "$out" || die "$out: cannot be made"
    make_workplace "$out"
    for names in "$@"; do
        issue "$names"
    done
    say "copy each folder to its host, as /etc/covsvc/tls or wherever COVSVC_TLS says, for instance:"
    say "    tar -C '$out/${1%%,*}' -c . | ssh root@${1%%,*} 'install -d -m 700 /etc/covsvc/tls && tar -C /etc/covsvc/tls -x --no-same-owner'"
}

issue() { # for a name and hosts
    name=${1%%,*}
    folder=$out/$name
    [ ! -e "$folder/ca-key.pem" ] || die "$folder: holds the key of a CA, which is for no host; choose another --out"
    {
        printf '%s\n' '[req]' 'distinguished_name = name' 'prompt = no' '[name]' "CN = $name" '[extensions]' \
            'basicConstraints = critical, CA:FALSE' 'keyUsage = critical, digitalSignature' \
            'extendedKeyUsage = serverAuth, clientAuth' 'subjectKeyIdentifier = hash' \
            'authorityKeyIdentifier = keyid' 'subjectAltName = @names' '[names]'
        printf '%s\n' "$1" | tr ',' '\n' | awk '
            /^$/ { next }
            /:/ || /^[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+$/ { print "IP." ++n " = " $0; next }
            { print "DNS." ++n " = " $0 }'
    } >"$work/conf"
    ssl ecparam -name prime256v1 -genkey -noout -out "$work/key.pem"
    ssl req -new -sha256 -config "$work/conf" -key "$work/key.pem" -out "$work/request"
    ssl x509 -req -sha256 -in "$work/request" -CA "$ca/ca.pem" -CAkey "$ca/ca-key.pem" \
        -set_serial "0x00$(openssl rand -hex 16)" -days "$days" -extfile "$work/conf" -extensions extensions \
        -out "$work/cert.pem"
    cp "$ca/ca.pem" "$work/ca.pem"
    chmod 644 "$work/ca.pem" "$work/cert.pem"
    ssl verify -CAfile "$work/ca.pem" "$work/cert.pem" >"$work/verified"
    did=made
    [ ! -e "$folder/cert.pem" ] || did=renewed
    mkdir -p "$folder" || die "$folder: cannot be made"
    for file in ca.pem cert.pem key.pem; do
        mv "$work/$file" "$folder/$file"
    done
    say "$did $folder for $1, until $(until_when "$folder/cert.pem")"
}

make_workplace() { # beside what is made, so that files appear whole, and go away if it fails
    work=$(mktemp -d "$1/.making.XXXXXX") || die "$1: cannot be written"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT HUP TERM
}

command -v openssl >/dev/null 2>&1 || die "openssl is missing; install it"
verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
ca) make_ca "$@" ;;
issue) issue_all "$@" ;;
help | -h | --help) usage ;;
*)
    [ -z "$verb" ] || say "unknown argument: $verb"
    usage >&2
    exit 2
    ;;
esac
