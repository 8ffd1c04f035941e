true | false; echo "last wins: $?"
false | true; echo "last wins: $?"
set -o pipefail
false | true; echo "pipefail: $?"
! true; echo "negated: $?"
exit 7
