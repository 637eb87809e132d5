use super::*;
use crate::shop::Partial;

fn partials(given: &[(&str, &str)]) -> Partials {
    let partial = |html: &str| Partial { html: html.to_owned(), text: Some(format!("text of {html}")) };
    given.iter().map(|(name, html)| ((*name).to_owned(), partial(html))).collect()
}

fn expanded_by(
    owner: Owner<'_>,
    source: &str,
    given: &[(&str, &str)],
) -> Result<(String, Vec<String>), String> {
    let (partials, mut used) = (partials(given), Vec::new());
    let expanded = expand(Part::Html, source, owner, &partials, 10_000, &mut used);
    expanded.map(|expanded| (expanded.text.into_owned(), used)).map_err(|fault| fault.to_string())
}

fn expanded(source: &str, given: &[(&str, &str)]) -> String {
    expanded_by(Owner::Template, source, given).unwrap_or_else(|fault| panic!("{fault}: {source}")).0
}

fn refusal(source: &str, given: &[(&str, &str)]) -> String {
    expanded_by(Owner::Template, source, given).expect_err(source)
}

#[test]
fn a_partial_stands_where_it_is_called() {
    let footer = [("footer", "<p>{{brand_name}}</p>"), ("a", "[{{> footer}}]"), ("f.de", "x")];
    assert_eq!(expanded("<b>{{name}}</b>{{> footer}}!", &footer), "<b>{{name}}</b><p>{{brand_name}}</p>!");
    assert_eq!(expanded("{{#if a}}{{>a}}{{/if}}", &footer), "{{#if a}}[<p>{{brand_name}}</p>]{{/if}}");
    assert_eq!(expanded("{{> \"f.de\"}}{{>f.de}}", &footer), "xx");
    assert_eq!(expanded(r"\{{> nobody}} {{! {{> nobody}} }}", &footer), r"\{{> nobody}} {{! {{> nobody}} }}");
    assert_eq!(expanded_by(Owner::Template, "{{> a}}", &footer).unwrap().1, ["a", "footer"]);
}

#[test]
fn white_space_is_that_of_the_call() {
    let given = [("line", "<p>\n"), ("x", "x")];
    assert_eq!(expanded("a\n{{> line}}\nb", &given), "a\n<p>\nb");
    assert_eq!(expanded("a {{~> x ~}}\n b", &given), "axb");
    assert_eq!(expanded("a {{> x}}\n b", &given), "a x\n b");
}

#[test]
fn a_layout_goes_around_a_block() {
    let given = [
        ("layout", "<body>{{> @partial-block}}<hr>{{> footer}}</body>"),
        ("outer", "({{#> layout}}{{> @partial-block}}!{{/layout}})"),
        ("footer", "{{brand_name}}"),
        ("optional", "[{{#> @partial-block}}{{nothing}}{{/@partial-block}}]"),
        ("twice", "{{> @partial-block}}+{{> @partial-block}}"),
    ];
    let body = "<body>{{#if a}}<b>{{b}}</b>{{/if}}<hr>{{brand_name}}</body>";
    assert_eq!(expanded("{{#> layout}}{{#if a}}<b>{{b}}</b>{{/if}}{{/layout}}", &given), body);
    assert_eq!(
        expanded("{{#> outer}}x{{> footer}}{{/outer}}", &given),
        "(<body>x{{brand_name}}!<hr>{{brand_name}}</body>)"
    );
    assert_eq!(expanded("{{> optional}}{{#> optional}}x{{/optional}}", &given), "[{{nothing}}][x]");
    assert_eq!(expanded("{{#> twice}}{{x}}{{/twice}}", &given), "{{x}}+{{x}}");
    let by_itself = expanded_by(Owner::Partial("layout"), given[0].1, &given).unwrap().0;
    assert_eq!(by_itself, "<body><hr>{{brand_name}}</body>");
}

#[test]
fn a_context_and_arguments_mean_what_they_mean_to_the_caller() {
    let given = [
        ("row", "<td>{{name}}{{#each sizes}}{{this}}{{../name}}{{/each}}"),
        ("button", "<a href=\"{{url}}\">{{label}}{{#if note}} {{note}}{{/if}}</a>"),
        ("pay", "{{> button label=words url=order.url note=\"now\"}}"),
        ("list", "{{#each items}}{{../title}}:{{title}}{{> button url=../link label=\"x\"}}{{/each}}"),
        ("card", "{{#with (lookup a b)}}{{> @partial-block}}{{/with}}"),
        ("wraps", "{{#> card}}{{title}}{{/card}}"),
    ];
    assert_eq!(
        expanded("{{#each items}}{{> row this}}{{/each}}{{> row first}}", &given),
        "{{#each items}}<td>{{name}}{{#each sizes}}{{this}}{{../name}}{{/each}}{{/each}}\
         {{#with first}}<td>{{name}}{{#each sizes}}{{this}}{{../name}}{{/each}}{{/with}}"
    );
    assert_eq!(
        expanded("{{> pay words=\"Pay & go\"}}", &given),
        "<a href=\"{{order.url}}\">Pay &amp; go{{#if \"now\"}} now{{/if}}</a>"
    );
    assert_eq!(
        expanded("{{> list shop title=shop.name link=shop.url}}", &given),
        "{{#with shop}}{{#each items}}{{../../shop.name}}:{{title}}\
         <a href=\"{{../../shop.url}}\">x{{#if note}} {{note}}{{/if}}</a>{{/each}}{{/with}}"
    );
    // What the block says is counted from where the layout puts it.
    assert_eq!(
        expanded("{{> wraps title=shop.name}}", &given),
        "{{#with (lookup a b)}}{{../shop.name}}{{/with}}"
    );
}

#[test]
fn circles_are_refused_with_their_path() {
    let given =
        [("a", "{{> b}}"), ("b", "{{#if x}}{{> c}}{{/if}}"), ("c", "{{> a}}"), ("self", "{{> self}}")];
    assert_eq!(
        refusal("\n {{> a}}", &given),
        "html, line 2, column 2: in the partial `c`, line 1 column 1: partials use each other in a circle: a → b → c → a"
    );
    assert!(refusal("{{> self}}", &given).ends_with("self → self"));
    let by_itself = expanded_by(Owner::Partial("a"), "{{> b}}", &given).unwrap_err();
    assert!(by_itself.ends_with("a → b → c → a"), "{by_itself}");
}

#[test]
fn a_fault_of_a_partial_is_named_with_its_place() {
    let given = [("layout", "<p>\n  {{> @partial-block}}"), ("plain", "x"), ("bad", "\n{{> nobody}}")];
    for (source, expected) in [
        ("\n{{> footr}}", "html, line 2, column 1: there is no partial `footr`"),
        (
            "{{> bad}}",
            "html, line 1, column 1: in the partial `bad`, line 2 column 1: there is no partial `nobody`",
        ),
        (
            "{{> layout}}",
            "in the partial `layout`, line 2 column 3: has a place for content: call it as `{{#> layout}}",
        ),
        ("{{#> plain}}lost{{/plain}}", "`plain` has no `{{> @partial-block}}`"),
        ("{{#> layout}}x", "html, line 1, column 1: this block is not closed"),
        ("{{#> layout}}x{{/plain}}", "`layout` was opened, but `plain` is closing"),
        ("{{> @partial-block}}", "makes sense in a partial alone"),
        ("{{> (lookup . 'x')}}", "called by its name"),
    ] {
        let refusal = refusal(source, &given);
        assert!(refusal.contains(expected), "{refusal}");
    }
    let (partials, mut used) = (partials(&given), Vec::new());
    let subject = expand(Part::Subject, "{{> plain}}", Owner::Template, &partials, 100, &mut used);
    assert!(subject.is_err_and(|fault| fault.message.contains("subject")));
    let no_text = Partials::from([("a".to_owned(), Partial { html: "x".to_owned(), text: None })]);
    let text = expand(Part::Text, "{{> a}}", Owner::Template, &no_text, 100, &mut used);
    assert!(text.is_err_and(|fault| fault.message.contains("has no `text`")));
}

#[test]
fn a_fault_of_the_whole_is_placed_in_what_was_written() {
    let given = [("row", "<td>\n{{log x}}"), ("ok", "{{x}}\n{{y}}\n")];
    let (partials, mut used) = (partials(&given), Vec::new());
    for (source, expected) in [
        ("a{{> ok}}b\n  {{log y}}", "html, line 2, column 3: there is no helper `log`"),
        (
            "a\nb {{> row}}",
            "html, line 2, column 3: in the partial `row`, line 2 column 1: there is no helper `log`",
        ),
    ] {
        let expanded = expand(Part::Html, source, Owner::Template, &partials, 1_000, &mut used).unwrap();
        let fault =
            crate::render::compiled_template::compile_part(Part::Html, &expanded.text, &mut Vec::new());
        assert_eq!(expanded.placed(fault.map(drop).unwrap_err()).to_string(), expected);
    }
}

#[test]
fn depth_number_and_size_are_bounded() {
    let chain: Vec<_> = (0..12).map(|n| (format!("p{n}"), format!("{{{{> p{}}}}}", n + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(name, html)| (name.as_str(), html.as_str())).collect();
    assert!(refusal("{{> p0}}", &chain).contains("deeper than 8"));
    assert!(refusal(&"{{> e}}".repeat(501), &[("e", "")]).contains("more than 500"));
    let doubling: Vec<_> =
        (0..7).map(|n| (format!("d{n}"), format!("{{{{> d{0}}}}}{{{{> d{0}}}}}", n + 1))).collect();
    let mut doubling: Vec<_> = doubling.iter().map(|(name, html)| (name.as_str(), html.as_str())).collect();
    let large = "x".repeat(200);
    doubling.push(("d7", &large));
    assert!(refusal("{{> d0}}", &doubling).contains("larger than 10000 bytes"));
}

#[test]
fn the_names_that_a_part_calls_are_known_without_expanding_it() {
    assert_eq!(partials_in(Part::Html, "{{> a}}{{#> b}}{{> @partial-block}}{{> a x=1}}{{/b}}"), ["a", "b"]);
    assert!(partials_in(Part::Html, "a > b {{x}} \\{{> c}}").is_empty());
    assert!(partials_in(Part::Html, "{{> a}}{{").is_empty());
}
