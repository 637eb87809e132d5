"""Looks at every page: by day and by night, on a desk, on a phone and in large letters; and lets axe judge each.

Knows: the address; an operator of everything and one of a merchant with nothing; the pages; axe-core's file; a folder for
pictures.
"""

import pathlib

LOOKS = ((1280, "light"), (390, "dark"))
NARROW = 320  # 1280 pixels, four times as large

# What is wider than its page, and what is too small to be hit.
TOO_WIDE = """() => {
    const inBox = (element) => element.closest(".scroll, .stage, pre, .unseen, .skip, dialog:not([open]), details:not([open])");
    const beyond = [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && box.height > 0 && box.right > innerWidth + 1 && !inBox(element);
    });
    const small = [...document.querySelectorAll("button, summary, select, input:not([type=hidden])")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && (box.height < 24 || box.width < 24) && element.type !== "checkbox" && !element.closest(".unseen");
    });
    const isScrolled = document.documentElement.scrollWidth > innerWidth;
    return [...(isScrolled ? [document.body] : []), ...beyond, ...small].slice(0, 3).map((each) => each.outerHTML.slice(0, 160));
}"""

# Every rule there is, also those that are good practice only.
JUDGE = """async () => {
    const { violations } = await axe.run(document, { iframes: false, resultTypes: ["violations"] });
    return violations.map((each) => `${each.id} (${each.impact}): ${each.help}: ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160))}`);
}"""


def main(browser, known):
    axe = pathlib.Path(known["axe"]).read_text()
    pictures = pathlib.Path(known["pictures"])
    wrong = []

    def look(person, path, named=None):
        page = person.page
        page.goto(path)
        for width, scheme in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            found = page.evaluate(TOO_WIDE)
            page.evaluate(axe)
            found += page.evaluate(JUDGE)
            wrong.extend(f"{path} at {width}, {scheme}: {each}" for each in found)
            if named:
                page.screenshot(path=pictures / f"dashboard-{named}.{width}.{scheme}.png", full_page=True)
        page.set_viewport_size({"width": NARROW, "height": 900})
        wrong.extend(f"{path} at {NARROW}: {each}" for each in page.evaluate(TOO_WIDE))

    # The policy of the pages lets nobody bring a script; axe has to.
    nobody = Person(browser, known["base"], bypass_csp=True)
    nobody.is_strict = False
    for path, named in (("/login", "login"), ("/nowhere", "not-found")):
        look(nobody, path, named)
    ann = Person(browser, known["base"], bypass_csp=True)
    ann.sign_in(*known["ann"])
    for path in known["pages"]:
        look(ann, path, re.sub(r"[0-9a-f-]{36}", "one", path).strip("/").translate(str.maketrans("/?=:", "----"))[:60] or "overview")
    tom = Person(browser, known["base"], bypass_csp=True)
    tom.sign_in(*known["tom"])
    for path in known["empty"]:
        look(tom, path)
    return {"wrong": wrong, "faults": nobody.faults + ann.faults + tom.faults}


run(main)
