(set -e; true; false; echo never); echo $?
(set -e; if false; then :; fi; false || true; echo here); echo $?
(set -u; echo $undefined; echo never); echo $?
set -x; echo traced; set +x
