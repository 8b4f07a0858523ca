"""Verbs of the embedded world: `nepali|english|frame|subjects|objects|settings|options`.

`nepali`: the infinitive; a light-verb compound carries its first word before a space. `english`: base, past and past
participle (regular when only the base is given); a word after `+` is a fixed preposition or particle that follows the
verb. Frames: `i` intransitive, `t` transitive (its past marks the subject with -ले), `d` with a recipient. Subjects and
objects are noun classes (`people`: every human being). Settings: adjuncts that make sense, as `role:class`
(a manner names a kind of adverb). Options:
`dative` the object always takes -लाई, `state` no progressive, `plural` the object is a kind (raises goats),
`event` no habit (loses a key), `mental` no perfect and no
future (likes).
"""

VERBS = """
जानु|go went gone|i|people||goal:goalplace with:people manner:motion|
आउनु|come came come|i|people||goal:goalplace source:goalplace with:people|
खानु|eat ate eaten|t|people|food fruit|place:room place:yard with:people|
किन्नु|buy bought bought|t|people|goods|place:selling with:people|
पढ्नु|read read read|t|people|reading|place:study place:yard manner:attention|
पिउनु|drink drank drunk|t|people|drink|place:room place:yard with:people|
पकाउनु|cook|t|people|dish|place:cooking with:people|
हेर्नु|watch|t|people|show view|with:people|
लेख्नु|write wrote written|t|people|writing|place:study place:room manner:skill|
बेच्नु|sell sold sold|t|seller villager general|goods|place:selling|
दिनु|give gave given|d|people|gift|place:yard|
खेल्नु|play|t|people|game|place:yard with:people|
सुन्नु|listen+to|t|people|audio|place:room with:people manner:attention|
देख्नु|see saw seen|t|people|animal vehicle bird wild|place:area place:walkplace|state
बनाउनु|make made made|t|people|dish made|place:area|
ल्याउनु|bring brought brought|t|people|goods load|source:goalplace|
लैजानु|take took taken|t|people|goods load|goal:goalplace|
लगाउनु|wear wore worn|t|people|clothing||
धुनु|wash|t|people|washable ware washbody|place:yard manner:care|
सुत्नु|sleep slept slept|i|people pet||place:room|
उठ्नु|get got got+up|i|people|||
हिँड्नु|walk|i|people||place:walkplace manner:motion with:people|
बोल्नु|speak spoke spoken|t|people|language|with:people manner:skill|
भेट्नु|meet met met|t|people|people|place:goalplace|dative
सिक्नु|learn|t|people|learning|place:study with:people|
हाँस्नु|laugh|i|people||with:people manner:voice|
रुनु|cry|i|child kin||place:room|
नाच्नु|dance|i|people||place:yard with:people|
दौडनु|run ran run|i|child runner||place:walkplace place:yard|
बस्नु|sit sat sat|i|people pet||place:seat place:yard with:people|
पुग्नु|arrive|i|people||place:goalplace|state
फर्कनु|return|i|people||goal:goalplace source:goalplace|
निस्कनु|come came come+out|i|people||source:building|
काम गर्नु|work|t|people||place:work with:people manner:skill|
कुरा गर्नु|talk|t|people||with:people place:yard|
आराम गर्नु|rest|t|people||place:room place:yard|
मद्दत गर्नु|help|t|people|people||dative
माया गर्नु|love|t|people|kin pet||dative,state,mental
मन पराउनु|like|t|people|food fruit drink show audio flower||state,mental
सफा गर्नु|clean|t|people|room furniture building||
बन्द गर्नु|close|t|people|openable||
मर्मत गर्नु|repair|t|people|fixable||
सुरु गर्नु|start|t|people|activity||
रोप्नु|plant|t|villager general|crop planted|place:farmland with:people|
जोत्नु|plough|t|villager|farmland|with:people|
काट्नु|cut cut cut|t|villager general|cuttable|instrument:cutter place:place|
खन्नु|dig dug dug|t|villager general|hole farmland|instrument:digger with:people|
चराउनु|graze|t|villager child|cattle|place:pasture|plural
पाल्नु|raise|t|villager general|cattle pet|place:area|plural
बोक्नु|carry|t|people|load|place:way with:people|
टिप्नु|pick|t|people|pick fruit|place:yard with:people|
राख्नु|put put put|t|people|object|place:surface place:container|state
खोल्नु|open|t|people|openable||
पठाउनु|send sent sent|d|people|message gift money|source:area|
देखाउनु|show showed shown|d|people|image object|place:room|
सुनाउनु|tell told told|d|people|tale|place:yard place:room|
सोध्नु|ask|d|people|question|place:goalplace|
सिकाउनु|teach taught taught|d|people|learning|place:study|
गाउनु|sing sang sung|t|people|song|with:people manner:voice|
बजाउनु|play|t|people|instrument|place:yard manner:skill|
चलाउनु|drive drove driven|t|role general|driven|place:way manner:skill|
चलाउनु|ride rode ridden|t|people|ridden|place:way manner:skill|
खियाउनु|row|t|people|rowed|place:water with:people manner:skill|
कुर्नु|wait+for|t|people|transport|place:way with:people|
पर्खनु|wait+for|t|people|people|place:way place:goalplace|dative
बोलाउनु|call|t|people|people||dative
चिन्नु|know knew known|t|people|people||dative,state,mental
सम्झनु|remember|t|people|people||dative,state
बिर्सनु|forget forgot forgotten|t|people|lost|place:goalplace|state,event
हराउनु|lose lost lost|t|people|lost|place:way place:goalplace|state,event
खोज्नु|look+for|t|people|lost|place:room place:way|event
भेट्टाउनु|find found found|t|people|lost|place:way place:room|state,event
फुटाउनु|break broke broken|t|child general young|breaks|place:cooking|event
समात्नु|catch caught caught|t|people|catch|place:water with:people|
समात्नु|catch caught caught|t|people|caught|place:yard|
समात्नु|catch caught caught|t|role general|person_caught|place:goalplace place:way|dative
फाल्नु|throw threw thrown|t|child|caught|place:yard|
तान्नु|pull|t|people|pullable|with:people|
बुन्नु|weave wove woven|t|villager general|woven|place:yard|
सिउनु|sew sewed sewn|t|people|clothing|place:room|
बाल्नु|light lit lit|t|people|light fire|place:room|
निभाउनु|put put put+out|t|people|light fire||
कोर्नु|draw drew drawn|t|people|drawn|place:study manner:skill|
गन्नु|count|t|people|money|place:room|
कमाउनु|earn|t|role general|money|place:area|
बचाउनु|save|t|people|money||
छान्नु|choose chose chosen|t|people|clothing goods|place:selling|
चाख्नु|taste|t|people|dish food|place:cooking|
पोल्नु|roast|t|people|roast|place:cooking place:yard|
जाँच्नु|examine|t|medic|patient|place:building|dative
चोर्नु|steal stole stolen|t|bad|money lost|source:building|
घुम्नु|travel|i|people||place:land place:area with:people|
पौडिनु|swim swam swum|i|child swimmer||place:water|
उड्नु|fly flew flown|i|flyer||place:sky|
बग्नु|flow|i|flows||place:area|
उभिनु|stand stood stood|i|people||place:yard place:way|
भाग्नु|run ran run+away|i|bad wild||source:goalplace|
लुक्नु|hide hid hidden|i|child prey||place:room place:walkplace|
थाक्नु|get got got+tired|i|people|||state
चर्नु|graze|i|grazer||place:pasture|
भुक्नु|bark|i|barker||place:yard|
टोक्नु|bite bit bitten|t|biter|people||dative
मार्नु|kill|t|hunter|prey|place:pasture|event
समात्नु|catch caught caught|t|mouser|mousy|place:room place:yard|
चम्कनु|shine shone shone|i|shines||place:sky|
उदाउनु|rise rose risen|i|riser|||
अस्ताउनु|set set set|i|riser|||
फुल्नु|bloom|i|bloom||place:yard|
पाक्नु|ripen|i|fruit grain||place:farmland|
झर्नु|fall fell fallen|i|falls|||
सुक्नु|dry|i|washable||place:yard|
बिग्रिनु|break broke broken+down|i|fixable||place:way|
खुल्नु|open|i|opens|||state
गुड्नु|run ran run|i|driven||place:way|
"""
