"""Uses the dashboard as a person does, in one headless Chromium.

Arguments: the address, a name, a password, an order's id, a recipient, and a folder for pictures. Prints one JSON object
with what was seen: steps that were done, and what is wrong.
"""

PAGES = ("/", "/mails", "/dead-letters", "/batches", "/queue", "/routes", "/workers", "/callbacks", "/merchants",
         "/templates", "/actions", "/audit", "/sessions")
WIDTHS = (1280, 390, 320)

TOO_WIDE = """(() => {
    const inBox = (element) => element.closest(".scroll, .stage, pre, .unseen, .skip, dialog:not([open]), details:not([open])");
    const beyond = [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && box.height > 0 && box.right > innerWidth + 1 && !inBox(element);
    });
    const small = [...document.querySelectorAll("button, summary, select, input:not([type=hidden])")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && (box.height < 24 || box.width < 24) && element.type !== "checkbox" && !element.closest(".unseen");
    });
    const page = document.documentElement;
    return { scroll: page.scrollWidth, height: page.scrollHeight,
        names: [...beyond, ...small].slice(0, 3).map((element) => element.outerHTML.slice(0, 160)) };
})()"""


class Person(Browser):
    def begin(self, base):
        self.base, self.wrong = base, []
        for domain in ("Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def go(self, path):
        self.ask("Page.navigate", until="Page.loadEventFired", url=self.base + path)

    def does(self, expression):
        """Does something that leads to another page."""
        self.ask("Runtime.evaluate", until="Page.loadEventFired", expression=expression)

    def waits(self, what, expression):
        for _ in range(300):
            if self.evaluate(expression):
                return
            time.sleep(0.05)
        sys.exit(f"waited in vain: {what}; {self.evaluate('location.href')} {self.evaluate('document.body.innerText')[:1500]}")

    def sign_in(self, name, password):
        self.go("/login?next=/mails")
        self.does(f"""document.querySelector("#name").value = {json.dumps(name)};
            document.querySelector("#password").value = {json.dumps(password)};
            document.querySelector("form.stack button").click()""")
        self.waits("one is signed in", "location.pathname === '/mails'")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def faults(self):
        """Errors in the console, and requests to others."""
        found = []
        for event in self.events:
            method, about = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(about["exceptionDetails"]["text"])
            elif method == "Runtime.consoleAPICalled" and about["type"] == "error":
                found.append(str(about["args"]))
            elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
                found.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
            elif method == "Network.requestWillBeSent":
                url = about["request"]["url"]
                if not url.startswith((self.base + "/", "data:", "about:")):
                    found.append(f"a request to {url}")
        return found


def look_at_all(person, pictures, more):
    wrong = []
    for path in (*PAGES, *more):
        person.go(path)
        name = path.strip("/").replace("/", "-").replace("?", "-").replace("=", "-").replace(":", "-")[:60] or "overview"
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                person.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                person.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
                seen = person.evaluate(TOO_WIDE)
                if seen["scroll"] > width or seen["names"]:
                    wrong.append({"path": path, "width": width, **seen})
                person.picture(pictures / f"dashboard-{name}.{width}.{scheme}.png", width, max(seen["height"], 900))
    person.ask("Emulation.clearDeviceMetricsOverride")
    return wrong


def main():
    # Where it hangs is said, before the test is given up.
    faulthandler.dump_traceback_later(240, exit=True)
    base, name, password, order, recipient, pictures = sys.argv[1:7]
    more, pictures = sys.argv[7:], pathlib.Path(pictures)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        person = Person(profile)
        try:
            steps = use(person, base, name, password, order, recipient)
            too_wide = look_at_all(person, pictures, more)
            faults = person.faults()
        finally:
            person.end()
    print(json.dumps({"steps": steps, "too_wide": too_wide, "faults": faults}))


def use(person, base, name, password, order, recipient):
    steps = []
    person.begin(base)
    person.sign_in(name, password)
    steps.append("signed in")

    # A mail by its recipient in other case, from the box that is on each page; then by its order.
    person.press("/")
    person.waits("the box has the focus", "['find', 'query'].includes(document.activeElement.id)")
    person.does(f"""document.querySelector("#find").value = {json.dumps("to:" + recipient.upper())};
        document.querySelector(".find button").click()""")
    person.waits("it is found", "document.querySelectorAll('table.rows tbody tr').length === 1")
    person.does(f"""document.querySelector("#query").value = "order:{order}"; document.querySelector("main form button").click()""")
    person.waits("it is found by the order", "document.querySelectorAll('table.rows tbody tr').length >= 1")
    person.press("j")
    person.waits("the row has the focus", "document.activeElement.closest('tr') !== null")
    person.does("document.activeElement.click()")
    person.waits("its story is told", "document.querySelectorAll('.line li').length > 1")
    steps.append("found a mail")
    person.does("[...document.querySelectorAll('a')].find((a) => a.textContent.startsWith('Preview')).click()")
    person.waits("the preview is there", "document.querySelector('iframe') !== null")
    person.evaluate("document.querySelector('[data-stage=narrow]').click()")
    person.waits("it is narrow", "document.querySelector('#stage').classList.contains('narrow')")
    person.does("document.querySelector('.crumb a').click()")
    person.waits("the mail again", "document.querySelector('form[action$=\"/retry\"] button') !== null")
    person.does("document.querySelector('form[action$=\"/retry\"] button').click()")
    person.waits("it says so", "document.querySelector('.said.done') !== null")
    steps.append("tried a mail again")

    # A lane is paused in one tab, and the other shows it without being opened anew.
    first = person.session
    second = person.open_tab()
    person.begin(base)
    person.go("/queue")
    person.waits("it is live", "document.querySelector('#live').dataset.state === 'live'")
    person.evaluate("window.stays = true")
    person.session = first
    person.evaluate("window.confirm = () => true")
    person.go("/queue")
    person.evaluate("window.confirm = () => true")
    person.does("document.querySelector('#lanes form[action=\"/queue/pause\"] button').click()")
    person.session = second
    person.waits("the other tab shows it", "window.stays && document.querySelector('#lanes form[action=\"/queue/resume\"]') !== null")
    person.does("document.querySelector('#lanes form[action=\"/queue/resume\"] button').click()")
    person.waits("it goes on", "document.querySelector('.said.done') !== null")
    steps.append("paused a lane, live")
    person.evaluate("document.querySelector('#live-pause').click()")
    person.waits("live is paused", "document.querySelector('#live').dataset.state === 'paused'")

    person.press("?")
    person.waits("the keys are listed", "document.querySelector('#keys').open")
    person.evaluate("document.querySelector('#keys').close()")
    person.press("g")
    person.press("o")
    person.waits("a key leads to the overview", "location.pathname === '/'")
    steps.append("used keys")

    # All of it without a script.
    person.ask("Emulation.setScriptExecutionDisabled", value=True)
    person.go(f"/mails?q=order:{order}")
    person.does("document.querySelector('table.rows tbody a').click()")
    person.waits("a mail without a script", "document.querySelector('.line') !== null")
    steps.append("read a mail without a script")
    person.ask("Emulation.setScriptExecutionDisabled", value=False)
    return steps


main()
