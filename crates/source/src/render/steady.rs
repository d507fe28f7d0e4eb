//! Whether a chart can only ever render the same. In: all that its render has
//! on disk, and values that were typed. Out: yes, where no template can call
//! anything that depends on chance, on the time or on a host; where that is not
//! sure, no, and it is rendered twice.
//!
//! Functions count by their names, wherever they are called from: a helper is
//! found however its own name is made up. `tpl` makes code of texts, so with it
//! every text counts that it can reach.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use gitops_core::desired::Rendered;

use super::clock::{MAX_UNPACKED, is_packed};
use super::template::{Piece, pieces};

/// Packed charts inside of packed charts.
const MAX_DEPTH: usize = 8;

/// Functions of templates, of sprig and of helm that give the same for the
/// same. One that is not here, and `keys` and `values` with their order, may
/// give anything.
const STEADY_NAMES: &str = "\
    and block break call continue define else end eq false ge gt html if index js le len lt ne nil not or \
    print printf println range slice template true urlquery with \
    abbrev abbrevboth add add1 add1f addf adler32sum all any append atoi b32dec b32enc b64dec b64enc base \
    biggest buildCustomCert camelcase cat ceil chunk clean coalesce compact concat contains dateModify \
    date_modify decryptAES deepCopy deepEqual default derivePassword dict dig dir div divf duration empty \
    ext fail first float64 floor fromJson get has hasKey hasPrefix hasSuffix hello indent initial initials \
    int int64 isAbs join kebabcase kindIs kindOf last list lower max maxf merge mergeOverwrite min minf mod \
    mul mulf mustAppend mustChunk mustCompact mustDateModify mustDeepCopy mustFirst mustFromJson mustHas \
    mustInitial mustLast mustMerge mustMergeOverwrite mustPrepend mustPush mustRegexFind mustRegexFindAll \
    mustRegexMatch mustRegexReplaceAll mustRegexReplaceAllLiteral mustRegexSplit mustRest mustReverse \
    mustSlice mustToDate mustToJson mustToPrettyJson mustToRawJson mustUniq mustWithout must_date_modify \
    nindent nospace omit osBase osClean osDir osExt osIsAbs pick pluck plural prepend push quote \
    regexFind regexFindAll regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit \
    repeat replace rest reverse round semver semverCompare seq set sha1sum sha256sum sha512sum snakecase \
    sortAlpha split splitList splitn squote sub subf substr swapcase ternary title toDate toDecimal toJson \
    toPrettyJson toRawJson toString toStrings trim trimAll trimPrefix trimSuffix trimall trunc tuple typeIs \
    typeIsLike typeOf uniq unixEpoch unset until untilStep untitle upper urlJoin urlParse without wrap \
    wrapWith \
    durationDays durationHours durationMicroseconds durationMilliseconds durationMinutes durationNanoseconds \
    durationRoundTo durationSeconds durationTruncateTo durationWeeks fromJsonArray fromToml fromYaml \
    fromYamlArray include mustToDuration mustToToml mustToYaml required toToml toYaml toYamlPretty tpl";

/// Those that may give anything, as a text may name them.
const UNSTEADY_NAMES: &str = "\
    ago bcrypt date dateInZone date_in_zone durationRound encryptAES env expandenv genCA genCAWithKey \
    genPrivateKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey \
    getHostByName htmlDate htmlDateInZone htpasswd keys lookup now randAlpha randAlphaNum randAscii \
    randBytes randInt randNumeric shuffle uuidv4 values";

/// Those that code can be hidden with.
const OPENING: [&str; 3] = ["b32dec", "b64dec", "decryptAES"];

type Names = LazyLock<HashSet<&'static str>>;

static STEADY: Names = LazyLock::new(|| STEADY_NAMES.split_ascii_whitespace().collect());
static UNSTEADY: Names = LazyLock::new(|| UNSTEADY_NAMES.split_ascii_whitespace().collect());

/// Whether everything below `folder`, with what was `typed`, is rendered the
/// same every time.
pub(super) fn is_steady<'t>(folder: &Path, typed: impl Iterator<Item = &'t str>) -> bool {
    let mut scan = Scan::default();
    if scan.folder(folder).is_none() {
        return false;
    }
    typed.for_each(|text| scan.spoken |= names_unsteady(text));
    let code = scan.opens || scan.spoken || scan.reads_files && scan.shelved;
    !(scan.calls_unsteady || scan.tpl && code)
}

/// What has been found.
#[derive(Debug, Default)]
struct Scan {
    /// A template calls what may give anything.
    calls_unsteady: bool,
    tpl: bool,
    opens: bool,
    /// Templates read the chart's own files.
    reads_files: bool,
    /// A text that `tpl` may be given names what may give anything.
    spoken: bool,
    /// The same of a text that only `.Files` reaches.
    shelved: bool,
}

impl Scan {
    /// None: something cannot be read for sure.
    fn folder(&mut self, folder: &Path) -> Option<()> {
        for entry in std::fs::read_dir(folder).ok()? {
            let path = entry.ok()?.path();
            let kind = path.symlink_metadata().ok()?;
            if kind.is_dir() {
                self.folder(&path)?;
            } else if kind.is_file() {
                self.file(&path, &std::fs::read(&path).ok()?, 0)?;
            } else {
                return None;
            }
            if self.calls_unsteady {
                return Some(());
            }
        }
        Some(())
    }

    fn file(&mut self, path: &Path, bytes: &[u8], depth: usize) -> Option<()> {
        if is_packed(path) {
            return self.packed(bytes, depth);
        }
        let text = String::from_utf8_lossy(bytes);
        let is_in = |folder: &str| path.components().any(|part| part.as_os_str() == folder);
        if is_in("templates") {
            self.template(&text);
        }
        let unsteady = names_unsteady(&text);
        if is_in("crds") || path.extension().is_some_and(|extension| extension == "md") {
            self.shelved |= unsteady;
        } else {
            self.spoken |= unsteady;
        }
        Some(())
    }

    fn packed(&mut self, bytes: &[u8], depth: usize) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        let unpacked = flate2::read::MultiGzDecoder::new(bytes).take(MAX_UNPACKED);
        for entry in tar::Archive::new(unpacked).entries().ok()? {
            let mut entry = entry.ok()?;
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let path = entry.path().ok()?.into_owned();
                // helm takes it for a folder.
                if path.to_string_lossy().contains('\\') {
                    return None;
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).ok()?;
                self.file(&path, &bytes, depth + 1)?;
            } else if !kind.is_dir() {
                return None;
            }
        }
        Some(())
    }

    fn template(&mut self, text: &str) {
        self.reads_files |= text.contains("Files");
        let mut format = false;
        for piece in pieces(text) {
            // A format that is put together may ask for an address.
            let is_blank = piece.text().trim().is_empty();
            self.calls_unsteady |= format && !is_blank && !matches!(piece, Piece::Quoted(_));
            format = piece == Piece::Word("printf") || format && is_blank;
            match piece {
                Piece::Word("tpl") => self.tpl = true,
                Piece::Word(word) => self.opens |= OPENING.contains(&word),
                _ => {}
            }
            self.calls_unsteady |= is_unsteady(piece);
        }
    }
}

/// Whether a piece of a template may give anything: a function, or an address
/// in memory.
fn is_unsteady(piece: Piece<'_>) -> bool {
    match piece {
        Piece::Word(word) => !STEADY.contains(word),
        Piece::Quoted(text) => asks_for_address(text),
        // Lists of pointers, printed as such.
        Piece::Other(text) => {
            [".Chart", ".Maintainers", ".Dependencies"].iter().any(|list| text.ends_with(list))
        }
        Piece::Text(_) | Piece::Comment(_) => false,
    }
}

/// Whether a format has the verb `p`, or may have it by an escape.
fn asks_for_address(text: &str) -> bool {
    let text = text.replace("%%", "");
    let is_flag = |sign: char| !sign.is_alphabetic();
    let mut verbs = text.split('%').skip(1).map(|rest| rest.trim_start_matches(is_flag));
    let escaped = ["\\x", "\\u", "\\U", "\\0", "\\1"].iter().any(|escape| text.contains(escape));
    text.contains('%') && escaped || verbs.any(|verb| verb.starts_with('p'))
}

/// Whether what was rendered holds what looks like an address in memory.
pub(super) fn shows_address(rendered: &[Rendered]) -> bool {
    /// Digits of Go's addresses: 0xc000012345.
    const DIGITS: usize = 9;
    let is_address = |rest: &str| rest.bytes().take_while(u8::is_ascii_hexdigit).count() >= DIGITS;
    rendered.iter().any(|object| object.value.to_string().split("0x").skip(1).any(is_address))
}

/// Whether a text, were it code, could call what may give anything: as a
/// template, or as a piece of one.
fn names_unsteady(text: &str) -> bool {
    if text.contains("{{") && pieces(text).any(is_unsteady) {
        return true;
    }
    // Words that are written otherwise: YAML's escapes, two bytes a letter.
    if ["\\x", "\\u", "\\U", "\0"].iter().any(|hidden| text.contains(hidden)) {
        return true;
    }
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    spoken(text).split(|letter| !is_word(letter)).any(|word| UNSTEADY.contains(word))
}

/// A text without its lines of comment, which are no code by themselves.
fn spoken(text: &str) -> Cow<'_, str> {
    let is_comment = |line: &str| line.trim_start().starts_with('#') && !line.contains("{{");
    if !text.lines().any(is_comment) {
        return text.into();
    }
    text.lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn steady(files: &[(&str, &str)], typed: &[&str]) -> bool {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        is_steady(folder.path(), typed.iter().copied())
    }

    #[test]
    fn a_template_is_steady_that_calls_nothing_else() {
        let steady = |template: &str| steady(&[("c/templates/a.yaml", template)], &[]);
        for template in [
            "a: now {{ .Values.now | default \"now\" | quote }}",
            "{{- range $keys := .Values.keys }}{{ include \"x.now\" $ }}{{ end -}}",
            "{{/* randAlphaNum */}}{{ toYaml .Values | nindent 4 }}",
            "{{ tpl .Values.a . }}{{ .Files.Get \"a\" | b64enc }}",
            "{{ printf \"%s-%03d%% p\" .Release.Name 3 }}{{ .Chart.Name }}",
        ] {
            assert!(steady(template), "{template}");
        }
        for template in [
            "{{ randAlphaNum 8 }}",
            "{{define \"x\"}}{{uuidv4}}{{end}}",
            "{{ now.Unix }}",
            "{{ \"x\" | htpasswd \"a\" }}",
            "{{ lookup \"v1\" \"Secret\" \"a\" \"b\" }}",
            "{{ keys .Values | first }}",
            "{{ date \"2006\" .Values.a }}",
            "{{ someFunctionOfTomorrow }}",
            "{{ printf \"%p\" .Values }}",
            "{{ .Chart.Maintainers }}",
            "{{ .Chart }}",
            "{{ printf \"%[1]p %s\" .Values }}",
            "{{ printf \"%\\x70\" .Values }}",
            "{{ printf (print \"%\" \"p\") .Values }}",
            "{{ .Values | printf $format }}",
            "{{ tpl (.Values.a | b64dec) . }}",
        ] {
            assert!(!steady(template), "{template}");
        }
    }

    #[test]
    fn with_tpl_every_text_counts_that_it_reaches() {
        let plain = ("templates/a.yaml", "{{ .Values.a }}");
        let tpl = ("templates/a.yaml", "{{ tpl .Values.a . }}");
        let reads = ("templates/a.yaml", "{{ tpl (.Files.Get .Values.a) . }}");
        for (path, text) in [
            ("values.yaml", "a: '{{ randAlpha 3 }}'"),
            ("values.yaml", "a: randAlpha"),
            ("values.yaml", "a: |\n  # {{ someFunctionOfTomorrow }}\n"),
            ("charts/b/values.yaml", "a: '{{ now }}'"),
            ("sources/base/any", "a: '{{ uuidv4 }}'"),
            ("values.yaml", "a: \"\\x7b\\x7b n\\x6fw }}\""),
            ("values.yaml", "a\0:\0 \0n\0o\0w\0"),
            ("templates/_b.tpl", "{{ \"{{\" }} uuidv4 }}"),
        ] {
            assert!(steady(&[plain, (path, text)], &[]), "{text}");
            assert!(!steady(&[tpl, (path, text)], &[]), "{text}");
        }
        assert!(steady(&[tpl, ("values.yaml", "# Values of now\na: 1\n"), ("README.md", "now")], &[]));
        assert!(!steady(&[reads, ("README.md", "{{ now }}")], &[]));
        assert!(steady(&[plain], &["a={{ now }}"]) && !steady(&[tpl], &["a={{ now }}"]));
    }

    #[test]
    fn what_cannot_be_read_for_sure_is_not_steady() {
        assert!(!steady(&[("charts/d-1.0.0.tgz", "no archive")], &[]));
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        assert!(!is_steady(folder.path(), std::iter::empty()));
        assert!(!is_steady(Path::new("/nowhere"), std::iter::empty()));
    }

    #[test]
    fn archives_are_read_as_helm_reads_them() {
        use flate2::write::GzEncoder;
        use std::io::Write;

        let entry = |path: &str, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            let mut tar = tar::Builder::new(Vec::new());
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
            let whole = tar.into_inner().unwrap();
            whole[..whole.len() - 1024].to_vec()
        };
        let packed = |members: &[Vec<u8>]| -> Vec<u8> {
            let pack = |member: &Vec<u8>| {
                let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(member).unwrap();
                packer.finish().unwrap()
            };
            members.iter().flat_map(pack).collect()
        };
        let steady = |members: &[Vec<u8>]| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("charts")).unwrap();
            std::fs::write(folder.path().join("charts/d-1.tgz"), packed(members)).unwrap();
            is_steady(folder.path(), std::iter::empty())
        };
        let chart = entry("d/Chart.yaml", "name: d");
        assert!(steady(&[chart.clone(), entry("d/templates/a.yaml", "a: 1")]));
        assert!(!steady(&[chart.clone(), entry("d/templates/a.yaml", "{{ uuidv4 }}")]), "a second member");
        assert!(!steady(&[chart, entry("d\\templates\\a.yaml", "{{ uuidv4 }}")]), "of another system");
    }

    #[test]
    fn addresses_are_seen() {
        let shows = |text: &str| {
            let value = serde_json::json!({"a": [text]});
            shows_address(&[Rendered {
                value,
                file: "f".into(),
                line: 0,
                lines: None,
                confidential: Vec::new(),
            }])
        };
        assert!(shows("[0xc0001234a0 0xc0001234a8]") && !shows("0x1f") && !shows("c0001234a0"));
    }

    #[test]
    fn no_name_is_both() {
        assert_eq!(UNSTEADY.intersection(&STEADY).count(), 0);
    }
}
