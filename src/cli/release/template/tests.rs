use serde_json::json;

use super::*;

const A: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0a";
const B: &str = "cred_01kaqz3m8v7d6k2n4p9r5s1t0b";
const SECRET: &str = "it's \"secret\"\n&<hunter2>";

fn document() -> Arc<Document> {
    let entry = |id: &str, label: &str, value: &str| {
        json!({"id": id, "client": {"id": "clnt_x", "name": "Example", "slug": "example"},
               "label": label, "kind": "generic", "version": 3, "expires_at": null,
               "fields": {"password": value, "user": "ada"}})
    };
    let text = json!({"credentials": [entry(A, "mail sync", SECRET), entry(B, "other", "two")],
                      "failed": []});
    let mut bytes = WipingBuffer::default();
    bytes.extend(text.to_string().as_bytes());
    Arc::new(Document::parse(&bytes, false).unwrap())
}

fn rendered(source: &str) -> Result<String, String> {
    let out = render("app.conf", source, &document()).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out.expose_secret().to_vec()).unwrap())
}

#[test]
fn values_stand_where_the_template_says_and_as_they_are() {
    let by_id = format!("p={{{{ credentials.{A}.fields.password }}}}\n");
    assert_eq!(rendered(&by_id).unwrap(), format!("p={SECRET}\n"));
    let by_name = r#"{{ credentials["example/mail sync"].fields["password"] }}"#;
    assert_eq!(rendered(by_name).unwrap(), SECRET);
    let list = "[all]\n{% for c in all %}\n{{ c.client.slug }}.{{ c.label }} {{ c.version }}\n{% endfor %}\n";
    assert_eq!(
        rendered(list).unwrap(),
        "[all]\nexample.mail sync 3\nexample.other 3\n"
    );
    let filters = r#"{% set p = credentials["example/mail sync"].fields.password %}
{{ p|json }} {{ p|sh }} {{ p|base64 }}"#;
    let json = serde_json::to_string(SECRET).unwrap();
    let quoted = "'it'\\''s \"secret\"\n&<hunter2>'";
    let expected = format!("{json} {quoted} {}", STANDARD.encode(SECRET));
    assert_eq!(rendered(filters).unwrap(), expected);
}

#[test]
fn what_is_not_there_is_named_with_its_line() {
    let at = |line: usize, what: &str, source: &str| {
        let said = rendered(source).unwrap_err();
        assert!(said.contains(&format!("app.conf line {line}")), "{said}");
        assert!(said.contains(what), "{said}");
    };
    at(
        2,
        "no field pasword",
        &format!("one\n{{{{ credentials.{A}.fields.pasword }}}}"),
    );
    at(
        1,
        "no field pasword",
        &format!("{{% if credentials.{A}.fields.pasword %}}x{{% endif %}}"),
    );
    at(
        3,
        "example/none",
        "a\nb\n{{ credentials['example/none'].fields.password }}",
    );
    at(
        1,
        "must name a credential",
        "{{ credentials.nothing.fields.password }}",
    );
    at(
        1,
        "its values are in .fields",
        &format!("{{{{ credentials.{A}.password }}}}"),
    );
    at(1, "not `env`", "{{ env.HOME }}");
    at(
        1,
        "a client has no password",
        "{% for c in all %}{{ c.client.password }}{% endfor %}",
    );
}

#[test]
fn nothing_reaches_out_and_nothing_is_let_off() {
    for source in [
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{{ range(10) }}",
        "{{ credentials|length }}",
        "{{ credentials['example/none']|default('x') }}",
        "{{ credentials }}",
        "{{ all }}",
        "{{ all[0].fields }}",
        "{% if x is defined %}{% endif %}",
        "{{ 'unfinished",
        "{% for a in all %}",
    ] {
        let said = rendered(source).unwrap_err();
        assert!(said.contains("app.conf"), "{source}: {said}");
        assert!(!said.contains("hunter2"), "{source}: {said}");
    }
}

#[test]
fn an_error_never_quotes_a_value() {
    let p = "{% set p = credentials['example/mail sync'].fields.password %}";
    for source in [
        "{{ p + 1 }}",
        "{{ p.x }}",
        "{{ p() }}",
        "{{ -p }}",
        "{{ p.x() }}",
        "{{ p|no }}",
        "{{ 1 / p }}",
    ] {
        let said = rendered(&format!("{p}{source}")).unwrap_err();
        assert!(
            !said.contains("hunter2") && !said.contains("it's"),
            "{said}"
        );
    }
}

#[test]
fn a_template_comes_to_an_end() {
    let mut source = String::new();
    for level in 0..26 {
        source.push_str(&format!("{{% for v{level} in all %}}"));
    }
    source.push('x');
    source.push_str(&"{% endfor %}".repeat(26));
    let said = rendered(&source).unwrap_err();
    assert!(said.contains("too many steps"), "{said}");
}
