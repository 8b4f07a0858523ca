"""Adjectives, adverbs, numerals and pronouns of the embedded world.

Adjectives: `nepali|english|classes|use`, where classes name the nouns it can describe and use is `a` (before the noun),
`p` (predicate) or both. An adjective in -ो agrees in gender and number. Adverbs: `nepali|english|kind`, where kind
says what it goes with: a tense (`past`, `future`, `now`, `habit`), `day` (any tense), a manner
(`motion`, `skill`, `voice`, `attention`), `degree` or `spot`.
"""

ADJECTIVES = """
राम्रो|good|thing reading show vehicle clothing tool|ap
सानो|small|thing animal child area walkplace bird vessel|ap
ठूलो|big|thing animal area walkplace vehicle vessel fruit|ap
नयाँ|new|thing clothing vehicle reading building tool device|ap
पुरानो|old|thing clothing vehicle reading building tool device|ap
रातो|red|clothing flower fruit vehicle container|ap
सेतो|white|clothing flower bird cloth|ap
कालो|black|clothing cloth device container|ap
निलो|blue|clothing cloth vehicle sky|ap
हरियो|green|clothing plant fodder|ap
पहेँलो|yellow|clothing flower cloth|ap
लामो|long|way pullable writing flows|ap
छोटो|short|writing pullable show|ap
अग्लो|tall|plant person high|ap
होचो|short|person plant|ap
मीठो|tasty|food fruit dish|ap
गुलियो|sweet|fruit|ap
पिरो|spicy|spicy|ap
अमिलो|sour|sourish fruit|ap
तातो|hot|drink meal|ap
चिसो|cold|drink water|ap
न्यानो|warm|clothing cloth|ap
सुन्दर|beautiful|view flower area clothing image song area walkplace|ap
सफा|clean|room clothing water ware washable|ap
फोहोर|dirty|room clothing water ware washable|ap
महँगो|expensive|clothing vehicle device tool goods|ap
सस्तो|cheap|clothing goods tool|ap
गह्रौँ|heavy|load container material tool|ap
हलुका|light|container clothing|ap
बलियो|strong|tool furniture grazer|ap
कमजोर|weak|person grazer|ap
धनी|rich|person|ap
गरिब|poor|person|ap
असल|kind|person|ap
मेहनती|hard-working|person|ap
इमानदार|honest|person|ap
अल्छी|lazy|person|ap
चलाख|clever|person hunter|ap
बुद्धिमान|wise|person|ap
प्रसिद्ध|famous|role area land reading song|ap
खुसी|happy|person|p
दुखी|sad|person|p
बिरामी|ill|person grazer|p
थकित|tired|person|p
व्यस्त|busy|person way|p
भोको|hungry|person animal|ap
तिर्खाएको|thirsty|person|p
स्वस्थ|healthy|person|p
शान्त|quiet|area area walkplace room|ap
गहिरो|deep|water hole|ap
चौडा|wide|way flows|ap
साँघुरो|narrow|way room|ap
कडा|hard|solid|ap
नरम|soft|cloth|ap
ताजा|fresh|fruit vegetable catch|ap
पाकेको|ripe|fruit|ap
रमाइलो|enjoyable|show song tale game|ap
सजिलो|easy|question learning activity|ap
गाह्रो|difficult|question learning activity|ap
रोचक|interesting|reading tale show|ap
खाली|empty|vessel container room|p
खतरनाक|dangerous|wild way|ap
छिटो|fast|vehicle|p
गोलो|round|caught vessel|ap
तिखो|sharp|cutter|ap
जवान|young|person|ap
"""

ADVERBS = """
आज|today|day
हिजो|yesterday|past
भोलि|tomorrow|future
अहिले|now|now
सधैँ|always|habit
बिहान|in the morning|day
बेलुका|in the evening|day
दिउँसो|in the afternoon|day
राति|at night|day
हरेक दिन|every day|habit
प्रायः|often|habit
कहिलेकाहीँ|sometimes|habit
गत वर्ष|last year|past
अर्को वर्ष|next year|future
गत हप्ता|last week|past
अर्को हप्ता|next week|future
हिजोआज|these days|habit
हरेक वर्ष|every year|habit
शनिबार|on Saturday|day
आइतबार|on Sunday|day
सोमबार|on Monday|day
शुक्रबार|on Friday|day
छिटो|quickly|motion skill
बिस्तारै|slowly|motion skill voice
राम्ररी|well|skill care
चुपचाप|silently|motion attention
एक्लै|alone|motion
जोरले|loudly|voice
खुसीसाथ|happily|motion voice
ध्यानपूर्वक|carefully|skill attention care
सजिलै|easily|skill
धेरै|very|degree
निकै|quite|degree
अलि|slightly|degree
यहाँ|here|spot
त्यहाँ|there|spot
बाहिर|outside|spot
भित्र|inside|spot
नजिकै|nearby|spot
"""

NUMERALS = (
 "", "एक", "दुई", "तीन", "चार", "पाँच", "छ", "सात", "आठ", "नौ", "दश", "एघार", "बाह्र",
)  # fmt: skip
ENGLISH_NUMERALS = (
 "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
