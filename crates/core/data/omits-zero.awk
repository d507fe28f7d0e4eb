# Reads the Go types of Kubernetes' APIs and prints, for every struct, the
# fields that are no pointer, slice or map and are marked omitempty: Go drops
# their zero value when it writes them, so that zero is the same as absence.
FNR == 1 { n = split(FILENAME, part, "/"); definition = part[n-2] "." part[n-1] }
/^type [A-Z][A-Za-z0-9]* struct \{/ { struct = $2; list = ""; next }
struct != "" && /^}/ { if (list != "") print definition "." struct ":" list; struct = ""; next }
struct != "" && match($0, /json:"[a-zA-Z0-9]+,omitempty/) && $2 !~ /^(\*|\[\]|map\[)/ {
  name = substr($0, RSTART + 6, RLENGTH - 16)
  list = list " " name
}
