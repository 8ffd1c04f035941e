set -- a "b c" d
echo $# "$@" "$*"; shift; echo $1
v=path/to/file.tar.gz
echo ${v##*/} ${v%.*} ${v%%.*} ${v#*/} ${#v} ${v/to/from} ${v//t/T}
echo ${unset-default} ${unset:=assigned} $unset ${v:+alternative} ${v:5:2}
(echo ${never?not set}); echo $?
IFS=:; set -- $(echo x:y:z); echo $3
echo "${@}"
