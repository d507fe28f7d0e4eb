use super::*;

const TEXT: &str = "# of the shop\nkind: Deployment # ours\nspec:\n  containers:\n  - name: app   # the one\n    image: web:1 # é keep\n  - {name: \"side\", image: 'x:1'}\n---\nimages:\n  - name: web\n    newTag: \"1\" # now\n    digest: sha256:ab\nlast: &a v\nuses: *a\nempty:\n";

fn edited(change: impl FnOnce(&mut Editor) -> Result<(), EditError>) -> String {
    let mut editor = Editor::new(TEXT);
    change(&mut editor).unwrap();
    let (before, after): (Vec<&str>, Vec<&str>) = (TEXT.lines().collect(), editor.text().lines().collect());
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{line}\n"));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{line}\n"));
    gone.chain(come).collect()
}

#[test]
fn only_the_value_changes() {
    let set =
        |document, pointer: &str, value: &str| edited(|editor| editor.set(document, &steps(pointer), value));
    assert_eq!(
        set(1, "/spec/containers/0/image", "web:2"),
        "-    image: web:1 # é keep\n+    image: web:2 # é keep\n"
    );
    assert_eq!(
        set(1, "/spec/containers/1/image", "x:2"),
        "-  - {name: \"side\", image: 'x:1'}\n+  - {name: \"side\", image: 'x:2'}\n"
    );
    assert_eq!(set(2, "/images/0/newTag", "2"), "-    newTag: \"1\" # now\n+    newTag: \"2\" # now\n");
    // A tag that looks like a number stays a text.
    assert_eq!(set(2, "/images/0/digest", "1.10"), "-    digest: sha256:ab\n+    digest: \"1.10\"\n");
    assert_eq!(set(2, "/empty", "x"), "-empty:\n+empty: x\n");
}

#[test]
fn fields_come_and_go() {
    assert_eq!(
        edited(|editor| editor.beside(2, &steps("/images/0/name"), "newName", "reg/web")),
        "+    newName: reg/web\n"
    );
    assert_eq!(
        edited(|editor| editor.beside(1, &steps("/spec/containers/1/name"), "tty", "y")),
        "-  - {name: \"side\", image: 'x:1'}\n+  - {name: \"side\", tty: \"y\", image: 'x:1'}\n"
    );
    assert_eq!(edited(|editor| editor.remove(2, &steps("/images/0/digest"))), "-    digest: sha256:ab\n");
    let mut editor = Editor::new(TEXT);
    let error = editor.remove(1, &steps("/spec/containers/1/image")).unwrap_err().to_string();
    assert_eq!(error, "spec.containers[1].image shares its line with something else");
    assert!(editor.remove(2, &steps("/images/0/name")).is_err(), "the dash is on its line");
}

#[test]
fn elements_come_where_the_list_is() {
    let fields = [("name", "db"), ("newTag", "3")];
    assert_eq!(edited(|editor| editor.push(2, "images", &fields)), "+  - name: db\n+    newTag: \"3\"\n");
    let mut editor = Editor::new("kind: A\n---\nkind: B");
    editor.push(1, "images", &fields).unwrap();
    editor.push(2, "images", &fields).unwrap();
    assert_eq!(
        editor.text(),
        "kind: A\nimages:\n- name: db\n  newTag: \"3\"\n---\nkind: B\nimages:\n- name: db\n  newTag: \"3\"\n"
    );
    assert!(Editor::new("images: []\n").push(1, "images", &fields).is_err());
}

#[test]
fn what_others_share_stays() {
    let mut editor = Editor::new(TEXT);
    for pointer in ["/last", "/uses"] {
        let error = editor.set(2, &steps(pointer), "x").unwrap_err();
        assert!(matches!(error, EditError::Shared(_)), "{error}");
    }
    assert!(matches!(editor.set(2, &steps("/none"), "x"), Err(EditError::Missing(_))));
    assert!(matches!(editor.set(1, &steps("/spec"), "x"), Err(EditError::NoText(_))));
    assert_eq!(editor.text(), TEXT);
}
