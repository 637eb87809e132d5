"""Opens pages that show what others wrote: nothing of it runs, is sent, or leads away.

Knows: the address; an operator; the pages; an address that pages must not reach.
"""


def main(browser, known):
    ann = Person(browser, known["base"])
    ann.sign_in(*known["ann"])
    # A browser says what it kept a frame from.
    ann.is_strict = False
    page = ann.page
    for path in known["pages"]:
        page.goto(path)
        for details in page.locator("main details").all():
            details.locator("summary").click()
        for frame in page.locator("main iframe").all():
            expect(frame.content_frame.locator("body")).to_contain_text("stays here")
        page.wait_for_timeout(300)
        assert page.url.startswith(ann.base), page.url
        assert all(frame.url.startswith(ann.base) for frame in page.frames), [frame.url for frame in page.frames]
        assert page.title() != "hacked", path
    please("hear nothing")
    # The one who listens would have heard.
    try:
        ann.context.new_page().goto(known["elsewhere"], timeout=2_000)
    except Error:
        pass  # it listens and says nothing
    please("hear something")
    return {"faults": [fault for fault in ann.faults if fault.startswith("a dialog")]}


run(main)
